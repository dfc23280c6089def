"""Rules of decoding, one by one, and the law that holds for all bytes."""

import time
from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.decode import LAST_MS, MAX_TEXT_CHARS, MAX_TIMESTAMPS, decode
from consumer.errors import RejectedError
from consumer.profile import Profile
from consumer.records import Erasure, Record, Vector
from consumer.vectors import pack_vector, unpack
from tests.factories import NOW_MS, message, offer_profile, person_profile, position, signup, vector
from tests.strategies import any_value, signups

PERSON = person_profile()
OFFER = offer_profile()
SECRET = "zanzibar"  # in values that must never come back in a reason


def person(value: object) -> Record:
    record = decode(message(orjson.dumps(value)), PERSON)
    assert isinstance(record, Record)
    return record


def offer(**value: object) -> Record:
    record = decode(message({"country": "DE", **value}), OFFER)
    assert isinstance(record, Record)
    return record


def reason(value: object, key: str | bytes | None = "r1") -> str:
    raw = value if isinstance(value, bytes) else orjson.dumps(value)
    with pytest.raises(RejectedError) as caught:
        decode(message(raw, key), OFFER)
    return str(caught.value)


def test_a_complete_record() -> None:
    record = decode(message(signup(), "r1", offset=7, partition=3), PERSON)
    assert record == Record(
        id="r1",
        scope="default",
        fields=signup(),
        born_ms=NOW_MS,
        source=position(7, 3),
        ingested_ms=NOW_MS,
    )


def test_a_null_value_is_an_erasure() -> None:
    assert decode(message(None, "r1", offset=7), PERSON) == Erasure("r1", position(7), NOW_MS)


@pytest.mark.parametrize(
    ("key", "fault"),
    [(None, "no key"), (b"", "no key"), (b"\xff\xfe", "not UTF-8"), ("x" * 257, "longer than 256")],
)
@pytest.mark.parametrize("value", [None, {"country": "DE"}])
def test_a_key_that_is_no_id_is_rejected(value: dict[str, object] | None, key: str | bytes | None, fault: str) -> None:
    with pytest.raises(RejectedError, match=fault):
        decode(message(value, key), OFFER)


def test_the_longest_key_is_taken() -> None:
    assert decode(message({}, "ß" * 256), PERSON).id == "ß" * 256


def test_the_value_may_repeat_the_id_but_not_change_it() -> None:
    assert person({"id": "r1"}).id == "r1"
    assert reason({"id": SECRET, "country": "DE"}) == "the value's id differs from the message key"
    assert "differs" in reason({"id": 1, "country": "DE"}, key="1")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([], "a list"),
        ("text", "text"),
        (None, "null"),
        (True, "a truth value"),
        (1, "a number"),
        (1.5, "a number"),
    ],
)
def test_only_an_object_is_a_record(value: object, kind: str) -> None:
    assert reason(value) == f"a JSON object is wanted, this is {kind}"


@pytest.mark.parametrize(
    "value", [b"", b"{", b"\xff", b"NaN", b'{"title": "zanzibar', b'{"title": zanzibar}', b'{"title":"\\ud800"}']
)
def test_what_is_not_json_is_rejected(value: bytes) -> None:
    assert reason(value).startswith("not JSON: ")
    assert SECRET not in reason(value)


@pytest.mark.parametrize("opening", [b"[", b'{"title":', b'{"title":['])
def test_deep_nesting_is_rejected_and_not_followed(opening: bytes) -> None:
    assert reason(opening * 100_000).startswith("not JSON: ")


@pytest.mark.parametrize("value", [None, "", "   ", "\t\n"])
def test_null_and_empty_text_are_missing(value: object) -> None:
    assert "name" not in person({"name": value}).fields


def test_missing_fields_are_missing_and_unknown_ones_ignored() -> None:
    assert person({"nickname": SECRET, "city": " Oslo "}).fields == {"city": "Oslo"}


@pytest.mark.parametrize(("value", "text"), [(10115, "10115"), (1.5, "1.5"), (0, "0")])
def test_a_number_will_do_for_text(value: object, text: str) -> None:
    assert person({"city": value}).fields["city"] == text


@pytest.mark.parametrize(("value", "kind"), [(True, "a truth value"), ([SECRET], "a list"), ({SECRET: 1}, "an object")])
def test_text_of_another_type_is_rejected(value: object, kind: str) -> None:
    assert reason({"country": "DE", "title": value}) == f"title: text is wanted, this is {kind}"


@pytest.mark.parametrize(("value", "digits"), [("3.7.1905", "19050703"), (19050703, "19050703"), (1905, "1905")])
def test_dates_are_digits(value: object, digits: str) -> None:
    assert offer(released=value).fields["released"] == digits


@pytest.mark.parametrize("value", ["", " ", None, "soon"])
def test_a_date_that_says_nothing_is_missing(value: object) -> None:
    assert "released" not in offer(released=value).fields


def test_a_date_of_another_type_is_rejected() -> None:
    assert reason({"country": "DE", "released": [1905]}) == "released: text is wanted, this is a list"


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (5, 5.0),
        (-0.5, -0.5),
        (2**64 - 1, float(2**64 - 1)),
        ("19.99", 19.99),
        ("1,299.00", 1299.0),
        (" 7 ", 7.0),
        ("1e3", 1000.0),
        ("١٢", 12.0),
    ],
)
def test_numbers(value: object, number: float) -> None:
    assert offer(price=value).fields["price"] == number


@pytest.mark.parametrize("value", [None, "", "  ", "call for price", "nan", "inf", "-Infinity", "9" * 5000])
def test_a_number_that_says_nothing_is_missing(value: object) -> None:
    assert "price" not in offer(price=value).fields


@pytest.mark.parametrize(("value", "kind"), [(False, "a truth value"), ([1], "a list"), ({SECRET: 1}, "an object")])
def test_a_number_of_another_type_is_rejected(value: object, kind: str) -> None:
    assert reason({"country": "DE", "price": value}) == f"price: a number is wanted, this is {kind}"


@pytest.mark.parametrize(
    "time",
    [
        "2025-01-06",
        "2025-01-06T09:00",
        "2025-01-06T09:00:00Z",
        "2025-01-06 09:00:00.123456+05:30",
        "20250106T090000-0800",
    ],
)
def test_iso_times_are_kept_as_they_were_written(time: str) -> None:
    assert offer(seen=[time]).fields["seen"] == [time]
    assert offer(seen=time).fields["seen"] == [time], "one time needs no list"


@pytest.mark.parametrize(
    "time", [SECRET, "2025-13-01", "2025-02-30", "06/01/2025", "2025-01-06T25:00", "1736154000", " "]
)
def test_what_is_not_a_time_is_rejected(time: str) -> None:
    assert reason({"country": "DE", "seen": ["2025-01-06", time]}) == "seen[1]: not an ISO 8601 time"


@pytest.mark.parametrize(
    ("value", "kind"), [(1736154000, "a number"), ({SECRET: 1}, "an object"), (True, "a truth value")]
)
def test_times_of_another_type_are_rejected(value: object, kind: str) -> None:
    assert reason({"country": "DE", "seen": value}) == f"seen: a list of ISO 8601 times is wanted, this is {kind}"


@pytest.mark.parametrize("inner", [1736154000, None, ["2025-01-06"], {SECRET: 1}])
def test_a_list_of_something_else_is_rejected(inner: object) -> None:
    assert reason({"country": "DE", "seen": [inner]}) == "seen[0]: not an ISO 8601 time"


@pytest.mark.parametrize("value", [None, [], "", "  "])
def test_no_times_are_missing(value: object) -> None:
    assert "seen" not in offer(seen=value).fields


def test_of_too_many_times_the_last_are_kept() -> None:
    times = [f"{year:04d}-01-01" for year in range(1, 10)] * 1200
    assert offer(seen=times).fields["seen"] == times[-MAX_TIMESTAMPS:]


def test_a_title_of_ten_megabytes_is_cut_quickly() -> None:
    value = orjson.dumps({"country": "DE", "title": "é" * 10_000_000})
    started = time.perf_counter()
    record = decode(message(value), OFFER)
    assert time.perf_counter() - started < 2
    assert isinstance(record, Record)
    assert record.fields["title"] == "é" * MAX_TEXT_CHARS


def test_the_scope_is_the_value_of_its_field() -> None:
    assert offer(country="de-AT_1.x").scope == "de-AT_1.x"
    assert offer(country=" DE ").scope == "DE"
    assert person({}).scope == "default"


@pytest.mark.parametrize("value", [{}, {"country": None}, {"country": " "}])
def test_a_record_without_its_scope_is_rejected(value: dict[str, object]) -> None:
    assert reason(value) == "country: missing, and it names the record's scope"


@pytest.mark.parametrize("country", ["zanzibar city", "{zanzibar}", "zanzibar/1", "Österreich", "x" * 65, "a\nb", "*"])
def test_a_scope_that_no_key_could_hold_is_rejected(country: str) -> None:
    assert reason({"country": country}).startswith("country: a scope is 1 to 64 letters")
    assert SECRET not in reason({"country": country})


@pytest.mark.parametrize(
    ("seen", "born_ms"),
    [
        (["1970-01-01T00:00:01Z", "2025-01-01"], 1_000),
        ("1970-01-01T00:00:01", 1_000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59Z", -1_000),
        ("0001-01-01T00:00:00+23:59", -62_135_596_800_000 - 86_340_000),
        (None, NOW_MS),
        ([], NOW_MS),
    ],
)
def test_a_record_is_born_at_its_own_time(seen: object, born_ms: int) -> None:
    record = offer(seen=seen)
    assert (record.born_ms, record.ingested_ms) == (born_ms, NOW_MS)


@pytest.mark.parametrize(
    "last", ["9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.9999999", "9999-12-31T23:59:59-12:00"]
)
def test_one_of_the_last_day_that_databases_know_is_born_when_the_matcher_takes_it(last: str) -> None:
    born = replace(vector("r1"), born_ms=offer(seen=[last]).born_ms)
    sent = pack_vector(born, "vectors", 0)
    read = unpack(message(sent.value, sent.key), born.fingerprint, len(born.values))
    assert isinstance(read, Vector)
    assert read.born_ms == LAST_MS


@pytest.mark.parametrize(("stamp", "taken"), [(2**62, LAST_MS), (-1, 0), (-(2**63), 0), (0, 0)])
def test_a_timestamp_that_no_clock_shows_is_moved_to_one_that_is(stamp: int, taken: int) -> None:
    values: list[dict[str, object] | None] = [None, {}]
    for value in values:
        assert decode(message(value, timestamp_ms=stamp), PERSON).ingested_ms == taken


def outcome(value: bytes | None, key: bytes | None, profile: Profile) -> Record | Erasure | RejectedError:
    try:
        return decode(message(value, key), profile)
    except RejectedError as error:
        return error


@given(st.data(), st.sampled_from([PERSON, OFFER]), st.none() | st.binary(max_size=8) | st.just(b"r1"))
@settings(max_examples=400)
def test_any_bytes_are_a_record_an_erasure_or_rejected(
    data: st.DataObject, profile: Profile, key: bytes | None
) -> None:
    value = data.draw(any_value(profile))
    made = outcome(value, key, profile)
    if isinstance(made, RejectedError):
        assert len(str(made)) < 200
    elif isinstance(made, Record):
        assert made.fields.keys() <= profile.fields.keys()
        assert not {"", ()} & {tuple(v) if isinstance(v, list) else v for v in made.fields.values()}
    else:
        assert value is None


@given(signups(), st.sampled_from(list(PERSON.fields)), st.sampled_from([[SECRET], {SECRET: SECRET}, [[SECRET]]]))
def test_a_reason_never_repeats_the_payload(value: dict[str, object], field: str, wrong: object) -> None:
    with pytest.raises(RejectedError) as caught:
        decode(message({**value, field: wrong}), PERSON)
    assert str(caught.value).startswith(field)
    assert SECRET not in str(caught.value)


@given(signups())
def test_valid_signups_are_records(value: dict[str, object]) -> None:
    assert person(value).fields.keys() == {name for name, given in value.items() if given not in (None, "", [])}
