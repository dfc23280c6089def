"""The quality of a record: each signal by its scale, what they come to, and what is said of a wrong profile."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from consumer.decode import decode
from consumer.errors import SettingsError
from consumer.profile import BUILT_IN, load_profile
from consumer.quality import QualitySpec
from consumer.records import FieldValue, Picture, Record
from tests.factories import NOW_MS, PERSON, message, person_profile, position
from tests.strategies import signups

NOW = datetime.fromtimestamp(NOW_MS / 1000, UTC)
COMPLETE = {"fields": {"name": 3, "city": 1}}


def record(**fields: FieldValue) -> Record:
    return Record("r1", "default", fields, NOW_MS, position(), NOW_MS)


def spec(**named: object) -> QualitySpec:
    return QualitySpec.model_validate(named)


def signals(chosen: QualitySpec, one: Record, picture: Picture | None) -> Mapping[str, float]:
    return {name: signal.of(one, picture) for name, signal in chosen.signals.items()}


def ago(*days: float) -> Sequence[str]:
    return [(NOW - timedelta(days=d)).isoformat() for d in days]


def test_completeness_is_the_share_of_fields_that_are_there() -> None:
    chosen = spec(completeness=COMPLETE)
    assert chosen.of(record(), None) == 0
    assert chosen.of(record(city="Oslo"), None) == 0.25
    assert chosen.of(record(city="Oslo", name="Ann", other="x"), None) == 1


@pytest.mark.parametrize(
    ("times", "value"),
    [
        ((), 0.0),
        ((0,), 1.0),
        ((30,), 0.5),
        ((60, 90, 300), 0.25),
        ((300, 90, 60), 0.25),
        ((-5, 90), 1.0),
    ],
)
def test_recency_halves_with_every_half_life_of_the_newest_time(times: Sequence[float], value: float) -> None:
    chosen = spec(recency={"field": "logins", "half_life_days": 30})
    fields: Mapping[str, FieldValue] = {"logins": ago(*times)} if times else {}
    assert chosen.of(record(**fields), None) == value


def test_a_time_without_an_offset_is_utc_and_one_that_cannot_be_counted_is_none() -> None:
    chosen = spec(recency={"field": "logins", "half_life_days": 30}, count={"field": "logins", "half": 1})
    naive = (NOW - timedelta(days=30)).replace(tzinfo=None).isoformat()
    assert signals(chosen, record(logins=[naive]), None) == {"recency": 0.5, "count": 0.5}
    first = "0001-01-01T00:00:00+14:00"
    assert signals(chosen, record(logins=[first]), None)["recency"] == 0


def test_amounts_saturate_and_half_is_worth_one_half() -> None:
    chosen = spec(
        count={"field": "logins", "half": 2},
        length={"field": "text", "half": 5},
        pixels={"half": 1200},
        bytes={"half": 50},
    )
    one = record(logins=ago(1, 2, 2), text="abcde")
    found = signals(chosen, one, Picture(40, 30, 150))
    assert found == {"count": 0.5, "length": 0.5, "pixels": 0.5, "bytes": 0.75}
    assert chosen.of(one, Picture(40, 30, 150)) == 0.5625
    assert signals(chosen, record(), None) == dict.fromkeys(found, 0.0)


def test_only_ratios_of_weights_matter() -> None:
    one = record(name="Ann", text="x" * 7)
    length = {"field": "text", "half": 3}
    light = spec(completeness={**COMPLETE, "weight": 0.3}, length={**length, "weight": 0.1})
    heavy = spec(completeness={**COMPLETE, "weight": 30}, length={**length, "weight": 10})
    assert light.of(one, None) == heavy.of(one, None) == round((3 * 0.75 + 0.7) / 4, 4)


def test_without_signals_every_record_is_as_good() -> None:
    assert spec().of(record(), None) == 1


@given(signups(), st.integers(0, 4_000_000_000_000), st.sampled_from(["signup", str(PERSON)]))
def test_quality_is_between_0_and_1_whatever_a_record_holds(value: dict[str, object], now_ms: int, name: str) -> None:
    profile = load_profile(name)
    decoded = decode(message(value, timestamp_ms=now_ms), profile)
    assert isinstance(decoded, Record)
    found = signals(profile.quality, decoded, None)
    assert found.keys() == profile.quality.signals.keys()
    assert all(0 <= value <= 1 for value in found.values())
    assert min(found.values()) - 1e-4 <= profile.quality.of(decoded, None) <= max(found.values()) + 1e-4


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_empty_record_has_none_and_more_of_anything_is_never_less(name: str) -> None:
    profile = load_profile(name)
    texts: dict[str, FieldValue] = {f: "word" for f, s in profile.fields.items() if s.type == "text"}
    times: dict[str, FieldValue] = {f: ago(400, 40) for f, s in profile.fields.items() if s.type == "timestamps"}
    numbers: dict[str, FieldValue] = {f: 1.0 for f, s in profile.fields.items() if s.type == "number"}
    newer: dict[str, FieldValue] = {f: ago(400, 40, 4) for f in times}
    longer: dict[str, FieldValue] = dict.fromkeys(texts, "word " * 40)
    steps: list[tuple[dict[str, FieldValue], Picture | None]] = [
        ({}, None),
        (texts, None),
        ({**texts, **numbers, **times}, None),
        ({**longer, **numbers, **newer}, None),
        ({**longer, **numbers, **newer}, Picture(200, 200, 9_000)),
        ({**longer, **numbers, **newer}, Picture(900, 900, 90_000)),
    ]
    values = [profile.quality.of(record(**fields), picture) for fields, picture in steps]
    assert values[0] == 0
    assert values == sorted(values)
    assert 0.5 < values[-1] < 1


# what is said of a wrong one


def fault(file: Path, **changes: Any) -> str:
    content = {**yaml.safe_load(PERSON.read_text(encoding="utf-8")), **changes}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_profile(str(file))
    return str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": 0.4, "city": 0.6}, "quality: signals are wanted (completeness, recency, count, length"),
        ({"shine": {"weight": 1}}, "quality.shine: there is no such name here"),
        ({"completeness": {"fields": {}}}, "quality.completeness.fields: "),
        ({"completeness": {"fields": {"name": 0}}}, "quality.completeness.fields.name: Input should be greater than 0"),
        ({"recency": {"field": "login_times"}}, "quality.recency.half_life_days: Field required"),
        ({"recency": {"field": "name", "half_life_days": 9}}, "quality.recency: the field name must be of type timest"),
        ({"count": {"field": "name", "half": 9}}, "quality.count: the field name must be of type timestamps"),
        ({"length": {"field": "login_times", "half": 9}}, "quality.length: the field login_times must be of type text"),
        ({"count": {"field": "login_times", "half": 0}}, "quality.count.half: Input should be greater than 0"),
        ({"count": {"field": "gone", "half": 1}}, "not among the profile's fields: gone"),
        ({"pixels": {"half": 9, "weight": -1}}, "quality.pixels.weight: Input should be greater than 0"),
        ({"pixels": {"half": 9}}, "quality.pixels: no modality of this profile reads pictures"),
        ({"bytes": {"half": 9}}, "quality.bytes: no modality of this profile reads pictures"),
    ],
    ids=str,
)
def test_a_wrong_quality_is_told_with_its_key(tmp_path: Path, wrong: dict[str, object], said: str) -> None:
    assert said in fault(tmp_path / "profile.yaml", quality=wrong)


def test_the_person_profile_is_judged_by_completeness_alone() -> None:
    assert list(person_profile().quality.signals) == ["completeness"]
