"""The generated stream: the same for a seed, with the duplicates it claims, and valid."""

from collections import Counter

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.decode import decode
from consumer.profile import load_profile
from consumer.records import Record
from consumer.simulate import Signup, signups
from tests.factories import encoder_set, message, person_profile

SEEDS = st.integers(0, 2**32)


@given(SEEDS, st.integers(0, 50), st.integers(0, 50))
def test_a_seed_gives_one_stream_however_long(seed: int, few: int, more: int) -> None:
    assert list(signups(few, seed)) == list(signups(few + more, seed))[:few]


def test_seeds_differ_and_this_one_stays() -> None:
    assert list(signups(20, 1)) != list(signups(20, 2))
    first = next(signups(1, 7))
    assert first == Signup("signup-000000", 0, first.value)
    assert list(first.value) == ["name", "city", "browser", "os", "login_times"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.6])
def test_about_the_asked_share_are_of_someone_seen_before(share: float) -> None:
    people: set[int] = set()
    again = 0
    for signup in signups(4000, 7, share):
        again += signup.person in people
        people.add(signup.person)
    assert again / 4000 == pytest.approx(share, abs=0.03)
    assert people == set(range(4000 - again))


def test_strangers_are_as_varied_as_real_people_and_some_are_related() -> None:
    made = [signup.value for signup in signups(4000, 7, 0.0)]
    families = Counter(str(value["name"]).split(" ")[-1] for value in made)
    cities = Counter(value["city"] for value in made)
    assert len(families) > 2000
    assert len(cities) > 1500
    assert max(families.values()) < 0.015 * len(made)
    assert max(cities.values()) < 0.01 * len(made)
    homes = Counter((str(value["name"]).split(" ")[-1], value["city"]) for value in made)
    assert sum(count - 1 for count in homes.values()) / len(made) == pytest.approx(0.04, abs=0.015)


@given(SEEDS)
def test_every_signup_is_a_valid_record(seed: int) -> None:
    made = list(signups(60, seed, 0.5))
    assert [s.id for s in made] == [f"signup-{n:06d}" for n in range(60)]
    for profile in (load_profile("signup"), person_profile()):
        for signup in made:
            record = decode(message(signup.value, signup.id), profile)
            assert isinstance(record, Record)
            assert record.fields.keys() == signup.value.keys(), "nothing generated is empty or unknown"


def test_second_signups_are_typed_anew_and_still_alike() -> None:
    made = list(signups(600, 7, 0.4))
    encoders = encoder_set()
    records = [decode(message(s.value, s.id), encoders.profile) for s in made]
    vectors = [v.values.astype(float) for v in encoders.encode([r for r in records if isinstance(r, Record)])]
    first: dict[int, int] = {}
    same, other = [], []
    for i, signup in enumerate(made):
        j = first.setdefault(signup.person, i)
        if j != i:
            assert orjson.dumps(signup.value) != orjson.dumps(made[j].value)
            same.append(float(vectors[i] @ vectors[j]))
            other.append(float(vectors[i] @ vectors[j - 1]))
    assert len(same) > 150
    assert sum(same) / len(same) > sum(other) / len(other) + 0.3
    assert max(Counter(s.person for s in made).values()) > 2, "some come more than twice"
