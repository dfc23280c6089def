"""What a fitted model reads of a record, and the folders that are refused; the graphs are run by the tests of `export/`."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.behaviour_encoder import FEATURES, GAP, HABIT, WEEK, BehaviourEncoder
from consumer.adapters.device_encoder import BROWSER, SYSTEM, DeviceEncoder
from consumer.adapters.fitted_encoder import Featured, FittedEncoder
from consumer.errors import ModelError

BEHAVIOUR, DEVICE = BehaviourEncoder("times"), DeviceEncoder("browser", "os")
LOGINS = st.lists(st.datetimes().map(lambda time: time.isoformat()), max_size=20)
NAMES = st.sampled_from(["", "Chrome 120", "Safari", "Windows 11", "BeOS", "Vivaldi", "iOS", "7"])


@given(LOGINS)
def test_features_of_a_habit_carry_their_own_baselines(logins: list[str]) -> None:
    """Weekdays add up to 1, gaps to 1 or to nothing: what a fitted matrix takes off with them."""
    features, present = BEHAVIOUR.features([{"times": logins}])
    assert features.shape == (1, FEATURES)
    assert present.tolist() == [bool(logins)]
    if logins:
        assert features[0, WEEK].sum() == pytest.approx(1)
        assert features[0, GAP].sum() == pytest.approx(1 if len(set(logins)) > 1 else 0, abs=1e-6)
        assert 0 < features[0, HABIT.stop] < 1
        assert np.linalg.norm(features[0, HABIT.stop + 1 :]) == pytest.approx(1, abs=1e-5)


@given(LOGINS)
def test_features_hold_the_part_that_the_fixed_vector_draws_from_the_times(logins: list[str]) -> None:
    features, _ = BEHAVIOUR.features([{"times": logins}])
    trust, chance = features[0, HABIT.stop], features[0, HABIT.stop + 1 :]
    fixed = BEHAVIOUR.encode([{"times": logins}]).vectors[0]
    np.testing.assert_allclose(fixed[HABIT.stop :], np.sqrt(1 - trust) * chance, atol=1e-6)


@given(NAMES, NAMES)
def test_a_device_has_one_family_of_each_kind_or_none(browser: str, system: str) -> None:
    rows = [{"browser": browser, "os": system}]
    features, present = DEVICE.features(rows)
    fixed = DEVICE.encode(rows)
    for part in (BROWSER, SYSTEM):
        assert features[0, part].sum() in {0, 1}
    assert ((features > 0) == (fixed.vectors > 0)).all()
    assert present.tolist() == fixed.present.tolist() == [bool(features.any())]


def folder(path: Path, inner: Featured, **changes: object) -> Path:
    """A folder whose graph is not one: what is wrong is found before it is loaded, or is said of it."""
    graph = b"no graph"
    spec = {
        "modality": "behaviour",
        "dim": 4,
        "preprocessing": {"features": inner.revision, "width": 4},
        "sha256": {"model.onnx": hashlib.sha256(graph).hexdigest()},
        **changes,
    }
    (path / "model.onnx").write_bytes(graph)
    (path / "spec.json").write_text(json.dumps(spec))
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"modality": "text"}, "a model of text"),
        ({"preprocessing": {"features": "behaviour-0", "width": 4}}, "behaviour-0"),
        ({"sha256": {"model.onnx": "0" * 64}}, "SHA-256"),
        ({"preprocessing": {}}, "is not the spec of a fitted encoder"),
        ({}, "no provider can run it"),
    ],
)
def test_a_folder_that_is_not_what_is_wanted_is_refused(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=said):
        FittedEncoder(folder(tmp_path, BEHAVIOUR, **changes), "behaviour", BEHAVIOUR)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nosuch"):
        FittedEncoder(tmp_path / "nosuch", "device", DEVICE)


def test_the_revision_follows_the_families() -> None:
    assert DEVICE.revision == DeviceEncoder("a", "b").revision != BEHAVIOUR.revision
