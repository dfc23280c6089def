"""Profiles: the built-in ones, one of a user, and what is said of a wrong one."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer.errors import SettingsError
from consumer.fusion_spec import WeightedSpec
from consumer.names import encoders_group
from consumer.profile import BUILT_IN, Profile, load_profile
from consumer.settings import Settings
from tests.factories import PERSON, offer_profile, person_profile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "profile.yaml"


def changed(file: Path, **changes: Any) -> Path:
    content = {**yaml.safe_load(PERSON.read_text(encoding="utf-8")), **changes}
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


def fault(path: Path | str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_profile(str(path))
    return str(caught.value)


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_profiles_load(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert profile.vectors_topic == f"vectors.{name}"
    assert sum(profile.weights) == pytest.approx(1)
    assert profile.quality.signals
    assert {field for _, field, _ in profile.quality.reads} <= set(profile.fields)
    assert {f for m in profile.modalities.values() for f in m.fields} <= set(profile.fields)


def test_every_profile_shipped_is_known_by_name() -> None:
    folder = Path(__file__).parents[2] / "consumer" / "profiles"
    assert {path.stem for path in folder.glob("*.yaml")} == set(BUILT_IN)


def test_a_profile_of_ones_own() -> None:
    profile = load_profile(str(PERSON))
    assert profile == person_profile()
    assert list(profile.modalities) == ["name", "city", "behaviour", "device"]
    assert profile.weights == pytest.approx([0.5, 0.3, 0.1, 0.1])
    assert (profile.scope, profile.born) == (None, None)


def test_only_ratios_of_weights_matter(file: Path) -> None:
    modalities = yaml.safe_load(PERSON.read_text(encoding="utf-8"))["modalities"]
    scaled = {name: {**m, "weight": m["weight"] * 70} for name, m in modalities.items()}
    assert load_profile(str(changed(file, modalities=scaled))).weights == pytest.approx(person_profile().weights)


def test_neither_built_in_nor_a_file(tmp_path: Path) -> None:
    assert "neither built in (signup, listing) nor a readable file" in fault("singup")
    assert "nor a readable file" in fault(tmp_path)
    (tmp_path / "latin").write_bytes(b"name: \xe9")
    assert "nor a readable file" in fault(tmp_path / "latin")


@pytest.mark.parametrize("text", ["", "- a", "text", "a: [", "a: *b", "a: 2025-13-45", "1: 2", "\x07"])
def test_a_file_that_is_no_profile(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    assert fault(file).startswith(f"profile {file}:")


def test_a_name_that_stands_twice_is_a_fault(file: Path) -> None:
    changed(file)
    file.write_text(file.read_text(encoding="utf-8") + "name: other\n", encoding="utf-8")
    assert "this name is given twice" in fault(file)


def test_numbers_are_finite(file: Path) -> None:
    fusion = {"duplicate": 0.8, "possible": 0.5, "slope": float("inf"), "min_evidence": 0.1}
    assert "fusion.weighted.slope: Input should be a finite number" in fault(changed(file, fusion=fusion))


def test_every_fault_is_reported_at_once_with_its_key(file: Path) -> None:
    said = fault(
        changed(
            file,
            name="No Spaces",
            input="",
            fields={"name": {"type": "words"}, "city": {}},
            modalities={
                "a": {"encoder": "lexical", "fields": [], "dim": 4, "weight": 0},
                "b": {"encoder": "device", "fields": ["name"], "weight": 1},
                "c": {"encoder": "magic", "fields": ["name"], "weight": 1},
            },
            fusion={"duplicate": 1.5, "possible": 0.5, "slope": 0},
            extra=1,
        )
    )
    keys = [
        *("name", "input", "fields.name.type", "fields.city.type", "modalities.a.lexical.dim"),
        *("modalities.a.lexical.fields", "modalities.a.lexical.weight", "modalities.b.device.fields"),
        *(
            "modalities.c",
            "fusion.weighted.duplicate",
            "fusion.weighted.slope",
            "fusion.weighted.min_evidence",
            "extra",
        ),
    ]
    for key in keys:
        assert said.count(f"\n  {key}: ") == 1, f"{key} in\n{said}"


@pytest.mark.parametrize(
    "changes",
    [
        {"scope": "tenant"},
        {"born": "tenant"},
        {"quality": {"completeness": {"fields": {"tenant": 1}}}},
        {"quality": {"length": {"field": "tenant", "half": 9}}},
        {"modalities": {"a": {"encoder": "lexical", "fields": ["name", "tenant"], "dim": 8, "weight": 1}}},
    ],
    ids=lambda c: str(*c),
)
def test_a_field_that_is_not_there_is_named(file: Path, changes: dict[str, object]) -> None:
    assert "not among the profile's fields: tenant" in fault(changed(file, **changes))


def test_only_dates_have_an_order(file: Path) -> None:
    fields = {
        **yaml.safe_load(PERSON.read_text(encoding="utf-8"))["fields"],
        "born": {"type": "text", "day_first": False},
    }
    assert "day_first says how a date is read" in fault(changed(file, fields=fields))


def test_thresholds_are_in_order(file: Path) -> None:
    fusion = {"duplicate": 0.5, "possible": 0.6, "slope": 1, "min_evidence": 0}
    assert "fusion.weighted: possible (0.6) must not exceed duplicate (0.5)" in fault(changed(file, fusion=fusion))
    assert WeightedSpec(duplicate=0.6, possible=0.6, slope=1, min_evidence=0).possible == 0.6


@pytest.mark.parametrize(
    "more",
    [
        {"weights": {"name": 1, "shoe": 1}},
        {"whitened": ["name", "shoe"]},
        {"one_sided": {"name": 0.9, "shoe": 0.9}},
        {"crowding": {"usual": 0.2, "most": 0.1, "apart": {"shoe": 0}}},
    ],
)
def test_what_decides_looks_at_modalities_only(file: Path, more: dict[str, object]) -> None:
    fusion = {"duplicate": 0.6, "possible": 0.5, "slope": 1, "min_evidence": 0, **more}
    assert "what is no modality is weighed, whitened, kept apart or one-sided: shoe" in fault(
        changed(file, fusion=fusion)
    )


def test_a_profile_cannot_be_changed() -> None:
    profile: Profile = offer_profile()
    with pytest.raises(ValueError, match="frozen"):
        profile.name = "x"


@pytest.mark.parametrize(
    ("modality", "said"),
    [
        (
            {"encoder": "lexical", "fields": ["photo"], "dim": 8},
            "m: lexical reads date, text, not photo",
        ),
        ({"encoder": "text", "model": "subword", "fields": ["name", "where"]}, "m: text reads .*, not where"),
        ({"encoder": "codes", "fields": ["photo"], "dim": 64}, "m: codes reads .*, not photo"),
        (
            {"encoder": "image", "model": "x", "floor": 0, "reach": 1, "fields": ["photo", "name"]},
            "m: image reads image, uri, not name",
        ),
        ({"encoder": "price", "fields": ["name"]}, "m: price reads number, not name"),
        ({"encoder": "behaviour", "fields": ["name"]}, "m: behaviour reads timestamps, not name"),
    ],
    ids=lambda given: given.get("encoder") if isinstance(given, dict) else "",
)
def test_an_encoder_gets_fields_it_can_read(file: Path, modality: dict[str, object], said: str) -> None:
    fields = {"name": {"type": "text"}, "photo": {"type": "image"}, "where": {"type": "uri"}}
    content = {"fields": fields, "modalities": {"m": {**modality, "weight": 1}}, "quality": {}}
    assert re.search(said, fault(changed(file, **content)))


def test_a_vectors_topic_of_its_own_has_encoders_of_its_own() -> None:
    """They start at the beginning of the input, beside those of the topic in use."""
    usual, other = person_profile(), person_profile(vectors="vectors.person.2")
    groups = [encoders_group(Settings(), profile) for profile in (usual, other)]
    assert (usual.vectors_topic, groups[0]) == ("vectors.person", "dedup.person.encode")
    assert (other.vectors_topic, groups[1]) == ("vectors.person.2", "dedup.person.vectors.person.2.encode")
