"""The shipped decider, read from its folder: what it gives, what is refused, and which fusion a profile decides with."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from consumer.adapters.onnx_decider import OnnxDecider
from consumer.doctor import examine
from consumer.errors import ModelError, SettingsError
from consumer.fusion import WeightedFusion
from consumer.learned_fusion import LearnedFusion
from consumer.profile import load_profile
from consumer.settings import Settings, load_settings
from consumer.wiring import build_encoders, build_fusion
from tests.factories import PERSON
from tests.services import ROOT

SHIPPED = ROOT / "models" / "onnx" / "signup-decider"


@pytest.fixture(scope="module")
def decider() -> OnnxDecider:
    return OnnxDecider(SHIPPED)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped decider, to be broken."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "broken"))


def spec_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "spec.json").read_text("utf-8"))
    return content


def test_it_tells_what_its_fitting_saw(decider: OnnxDecider) -> None:
    spec = spec_of(SHIPPED)
    assert list(decider.modalities) == spec["modalities"]
    assert decider.crowding == {t["modality"]: t["similarity"] for t in spec["crowding"]}
    assert decider.quality
    assert decider.expectations.usual == [*(t["usual"] for t in spec["crowding"]), None]
    assert (decider.expectations.base_rate, decider.expectations.damping) == (spec["base_rate"], spec["damping"])
    assert decider.background is not None
    assert asdict(decider.background) == spec["background"]


@pytest.mark.parametrize("key", ["modalities", "crowding", "whitened", "background", "base_rate", "damping"])
def test_whatever_changes_decisions_changes_the_fingerprint(key: str, decider: OnnxDecider, folder: Path) -> None:
    """What a scope has learnt of log-odds counts only for the decider that gave them."""
    other = {
        "modalities": ["name", "text", "city", "behaviour", "device"],
        "crowding": [NAME, {"modality": "city", "similarity": 0.8, "usual": 0.5}],
        "whitened": [],
        "background": None,
        "base_rate": 0.2,
        "damping": 0.1,
    }
    change(key, other[key])(folder)
    assert OnnxDecider(folder).fingerprint != decider.fingerprint
    change("licence", "another")(folder)
    change(key, spec_of(SHIPPED)[key])(folder)
    assert OnnxDecider(folder).fingerprint == decider.fingerprint


def test_a_pair_does_not_depend_on_its_batch(decider: OnnxDecider) -> None:
    m, terms = len(decider.modalities), len(decider.crowding) + 1
    rng = np.random.default_rng(1)
    similarities = rng.uniform(-1, 1, (700, m)).astype(np.float32)
    present, beyond = rng.random((700, m)) < 0.7, rng.normal(size=(700, terms))
    whole = decider.weigh(similarities, present, beyond)
    assert whole.shape == (700, 1 + m + terms)
    assert whole.dtype == np.float64
    for size in (1, 2, 3, 5, 16, 33, 256, 699):
        parts = [slice(start, start + size) for start in range(0, 700, size)]
        cut = np.concatenate([decider.weigh(similarities[p], present[p], beyond[p]) for p in parts])
        assert np.array_equal(cut, whole)


def test_a_decider_without_quality_is_read_all_the_same() -> None:
    neuron = OnnxDecider(SHIPPED.parent / "signup-neuron")
    assert not neuron.quality
    assert neuron.expectations.usual == []


def test_what_is_missing_adds_nothing_and_the_base_is_one_number(decider: OnnxDecider) -> None:
    m, terms = len(decider.modalities), len(decider.crowding) + 1
    rng = np.random.default_rng(2)
    similarities, present = rng.uniform(-1, 1, (50, m)).astype(np.float32), rng.random((50, m)) < 0.5
    log_odds = decider.weigh(similarities, present, np.zeros((50, terms)))
    assert len(set(log_odds[:, 0].tolist())) == 1
    assert not log_odds[:, 1 : 1 + m][~present].any()
    assert not log_odds[:, 1 + m :].any()


def change(key: str, value: object) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        spec = {**spec_of(folder), key: value}
        (folder / "spec.json").write_text(json.dumps({k: v for k, v in spec.items() if v is not None}), "utf-8")

    return changed


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def written(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return written


NAME = {"modality": "name", "similarity": 0.75, "usual": 0.5}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "spec.json").unlink(), "spec.json: cannot be read.*export fusion"),
        (write("spec.json", b"{"), "spec.json: is not the spec of a decider.*export fusion"),
        (write("spec.json", b"[]"), "spec.json: is not the spec of a decider.*export fusion"),
        (change("modality", "text"), "spec.json: not a decider.*export fusion"),
        (lambda folder: (folder / "model.onnx").unlink(), "model.onnx: cannot be read.*export"),
        (write("model.onnx", b"another"), "model.onnx: its SHA-256 is"),
        *(
            (change(key, None), f"spec.json.*{key}.*export")
            for key in ("modalities", "crowding", "base_rate", "damping")
        ),
        (change("sha256", {}), "spec.json.*model.onnx.*export"),
        (change("modalities", 7), "spec.json.*export"),
        (change("modalities", ["text", "name"]), "export the decider again|failed on"),
        (change("modalities", ["text", "text", "city", "behaviour", "device"]), "make no sense.*export"),
        (change("crowding", [NAME]), "export the decider again|failed on"),
        (change("crowding", [NAME, NAME]), "make no sense.*export"),
        (change("crowding", [NAME, {**NAME, "modality": "shoe"}]), "make no sense.*export"),
        (change("crowding", [NAME, {**NAME, "modality": "city", "similarity": 7}]), "make no sense.*export"),
        (change("crowding", [NAME, {**NAME, "modality": "city", "usual": -1}]), "make no sense.*export"),
        (change("crowding", [NAME, {"modality": "city"}]), "spec.json.*similarity.*export"),
        (change("crowding", "name"), "spec.json.*export"),
        (change("whitened", ["shoe"]), "make no sense.*export"),
        (change("whitened", 7), "spec.json.*export"),
        (change("background", {"slope": 0.3, "usual": -8.0}), "spec.json.*most.*export"),
        (change("background", {"slope": 2, "usual": -8.0, "most": 4.0}), "make no sense.*export"),
        (change("background", {"slope": 0.3, "usual": -8.0, "most": -4.0}), "make no sense.*export"),
        (change("background", 7), "spec.json.*export"),
        (change("quality", None), "export the decider again|failed on"),
        *((change("base_rate", value), "make no sense.*export") for value in (0, 1, -0.1, 7)),
        *((change("damping", value), "make no sense.*export") for value in (-0.1, 1.1)),
        (change("base_rate", "often"), "spec.json.*often.*export"),
    ],
)
def test_a_broken_folder_is_refused(spoil: Callable[[Path], None], said: str, folder: Path) -> None:
    spoil(folder)
    with pytest.raises(ModelError, match=f"(?s)broken.*({said})"):
        OnnxDecider(folder)


def test_a_graph_of_another_kind_is_refused(folder: Path) -> None:
    """Its digest is right, and yet it is no decider."""
    model = ROOT / "models" / "onnx" / "subword"
    shutil.copy(model / "model.onnx", folder / "model.onnx")
    change("sha256", spec_of(model)["sha256"])(folder)
    with pytest.raises(ModelError, match=r"broken/model\.onnx"):
        OnnxDecider(folder)


# which fusion decides


def person(tmp_path: Path, **changes: object) -> str:
    content = {**yaml.safe_load(PERSON.read_text("utf-8")), **changes}
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    return str(path)


def fusion(profile: str, **overrides: object) -> object:
    settings = load_settings(None, overrides)
    return build_fusion(settings, build_encoders(settings, load_profile(profile)))


LEARNED = {"kind": "learned", "model": "signup-decider", "duplicate": 0.5, "possible": 0.2, "min_evidence": 0.1}
WEIGHTED = {"duplicate": 0.9, "possible": 0.8, "slope": 7, "min_evidence": 0.5}


def test_the_shipped_profile_decides_with_its_decider(decider: OnnxDecider) -> None:
    chosen = fusion("signup")
    assert isinstance(chosen, LearnedFusion)
    assert chosen.decider.fingerprint == decider.fingerprint


def test_a_setting_chooses_among_the_alternatives(tmp_path: Path) -> None:
    profile = person(tmp_path, alternatives={"plain": WEIGHTED})
    usual, plain = fusion(profile), fusion(profile, **{"matching.fusion": "plain"})
    assert isinstance(usual, WeightedFusion)
    assert isinstance(plain, WeightedFusion)
    assert (usual.spec.slope, plain.spec.slope) == (20, 7)


def test_every_alternative_of_the_shipped_profiles_can_be_chosen() -> None:
    for name in ("signup", "listing"):
        encoders = build_encoders(load_settings(), load_profile(name))
        for alternative in encoders.profile.alternatives:
            build_fusion(load_settings(None, {"matching.fusion": alternative}), encoders)


@pytest.mark.parametrize(("alternatives", "known"), [({}, "none"), ({"b": WEIGHTED, "a": WEIGHTED}, "a, b")])
def test_an_alternative_that_is_not_there_is_named(alternatives: dict[str, object], known: str, tmp_path: Path) -> None:
    profile = person(tmp_path, alternatives=alternatives)
    with pytest.raises(SettingsError, match=f"matching.fusion.*person.*'nosuch'.*it has: {known}$"):
        fusion(profile, **{"matching.fusion": "nosuch"})


def test_a_decider_of_another_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"signup-decider.*person.*: text.*export fusion"):
        fusion(person(tmp_path, fusion=LEARNED))


def test_a_decider_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nosuch.*export fusion"):
        fusion(person(tmp_path, fusion={**LEARNED, "model": "nosuch"}))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"possible": 0.6}, "possible"),
        ({"duplicate": 1}, "duplicate"),
        ({"possible": 0}, "possible"),
        ({"min_evidence": 2}, "min_evidence"),
        ({"kind": "guessed"}, "fusion"),
        ({"slope": 3}, "slope"),
        ({"model": 7}, "model"),
    ],
)
def test_a_learned_fusion_that_makes_no_sense(changed: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"fusion.*{said}|{said}"):
        load_profile(person(tmp_path, fusion={**LEARNED, **changed}))


@pytest.mark.parametrize("name", ["base", "prior", "quality", "crowding", "crowding name"])
def test_a_modality_cannot_have_the_name_of_a_term(name: str, tmp_path: Path) -> None:
    modalities = {name: {"encoder": "lexical", "fields": ["name"], "dim": 32, "weight": 1}}
    load_profile(person(tmp_path, modalities=modalities))  # with a weighted mean there are no such terms
    with pytest.raises(SettingsError, match=f"modality {name}: .*call it something else"):
        load_profile(person(tmp_path, modalities=modalities, alternatives={"fitted": LEARNED}))


def test_doctor_looks_at_what_decides(tmp_path: Path) -> None:
    def first(settings: Settings, what: str) -> tuple[str, str]:
        return next((f.level, f.detail) for f in examine(settings) if f.what == what)

    assert first(load_settings(), "fusion") == ("ok", "learned: signup-decider")
    assert first(load_settings(None, {"profile": person(tmp_path)}), "fusion") == ("ok", "weighted mean")
    level, detail = first(
        load_settings(None, {"profile": person(tmp_path, fusion={**LEARNED, "model": "no"})}), "models"
    )
    assert level == "fault"
    assert "python -m export fusion" in detail
