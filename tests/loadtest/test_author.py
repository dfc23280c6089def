"""What is sent: seeded, mixed as the workload says, with a truth that holds."""

from collections import Counter
from itertools import islice

import orjson
import pytest

from consumer.decode import decode
from consumer.errors import RejectedError, SettingsError
from consumer.profile import load_profile
from consumer.records import Erasure, Message, Position, Record
from loadtest.author import KINDS, Author, Sending, shape_of
from loadtest.workload import Mix, Workload, load_workload
from tests.factories import offer_profile

SIGNUP, LISTING = load_profile("signup"), load_profile("listing")


def sendings(name: str, count: int, seed: int = 3, profile: str = "signup", fill: int = 0) -> list[Sending]:
    workload = load_workload(name).model_copy(update={"fill": fill, "generators": 2})
    author = Author("run", 0, seed, workload, load_profile(profile))
    return list(islice(iter(author.__next__, None), count))


def test_the_same_seed_writes_the_same_messages() -> None:
    assert sendings("mixed", 500) == sendings("mixed", 500)
    assert sendings("mixed", 500) != sendings("mixed", 500, seed=4)


def test_shares_are_those_of_the_mix() -> None:
    workload = load_workload("mixed")
    counts = Counter(sending.kind for sending in sendings("mixed", 8000))
    for kind in KINDS:
        assert counts[kind] / 8000 == pytest.approx(getattr(workload.mix, kind), abs=0.03), kind


def test_what_is_there_before_is_records() -> None:
    kinds = [sending.kind for sending in sendings("soak", 1_000, fill=901)]
    assert set(kinds[:451]) == {"new", "duplicate"}  # its half of them
    assert {"update", "erase"} <= set(kinds[451:])


def test_every_message_is_what_its_kind_says() -> None:
    sent: dict[bytes, int] = {}
    for offset, sending in enumerate(sendings("mixed", 3000)):
        message = Message(Position("signups", 0, offset), sending.key, sending.value, 0)
        if sending.kind == "poison":
            with pytest.raises(RejectedError):
                decode(message, SIGNUP)
            continue
        item = decode(message, SIGNUP)
        assert isinstance(item, Erasure if sending.kind == "erase" else Record)
        if sending.kind in {"update", "erase"}:
            assert sent[sending.key] == sending.entity
        else:
            assert sending.key not in sent
        sent[sending.key] = sending.entity
        if sending.kind == "erase":
            del sent[sending.key]


def test_a_duplicate_is_of_somebody_who_was_there() -> None:
    seen: set[int] = set()
    for sending in sendings("sweep", 3000):
        assert (sending.entity in seen) == (sending.kind == "duplicate")
        seen.add(sending.entity)


def test_strangers_under_a_hub_are_nobody_else() -> None:
    entities = [sending.entity for sending in sendings("mixed", 3000) if sending.kind == "hub"]
    assert len(set(entities)) == len(entities)
    assert max(entities) < 0


def test_listings_may_have_pictures() -> None:
    values = [orjson.loads(sending.value or b"") for sending in sendings("pictures", 200, profile="listing")]
    assert 0 < sum("image" in value for value in values) < 200
    with pytest.raises(SettingsError, match="no field `image`"):
        shape_of(SIGNUP, load_workload("pictures").mix)


def test_scopes_are_written_where_the_profile_names_a_field() -> None:
    content = load_workload("smoke").model_dump() | {"scopes": 3}
    workload = Workload.model_validate(content)
    author = Author("run", 0, 1, workload, offer_profile())
    countries = {orjson.loads(s.value or b"")["country"] for s in (next(author) for _ in range(100)) if s.kind == "new"}
    assert countries == {"load-0", "load-1", "load-2"}
    with pytest.raises(SettingsError, match="keeps no scopes apart"):
        Author("run", 0, 1, workload, LISTING)


def test_a_profile_of_something_else_is_refused() -> None:
    profile = SIGNUP.model_copy(update={"fields": {"city": SIGNUP.fields["city"]}})
    with pytest.raises(SettingsError, match="neither a field `name` nor a field `title`"):
        shape_of(profile, Mix(new=1))
