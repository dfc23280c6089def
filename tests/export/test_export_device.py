"""The device encoder is fitted on a generated population, folded into a graph, and loaded through a profile."""

import importlib.util
import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
import yaml

from consumer.adapters.device_encoder import DeviceEncoder
from consumer.adapters.fitted_encoder import FittedEncoder
from consumer.errors import ModelError
from consumer.profile import load_profile
from consumer.settings import load_settings
from consumer.wiring import build_encoders
from export.__main__ import main
from tests.services import ROOT

MISSING = [name for name in ("onnx",) if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason="the extra `export` is not installed")

DEVICES = {
    ("Chrome", "Windows"): 50,
    ("Chrome", "Android"): 25,
    ("Safari", "iOS"): 15,
    ("Firefox", "Linux"): 4,
    ("Firefox", "Windows"): 4,
    ("Opera", "macOS"): 2,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, chance = tmp_path_factory.mktemp("data"), Random(5)
    drawn = chance.choices(list(DEVICES), weights=list(DEVICES.values()), k=400)
    records = ({"browser": browser, "os": system} for browser, system in drawn)
    (folder / "records.jsonl").write_text("\n".join(map(json.dumps, records)))
    return folder


def export(data: Path, out: Path, *more: str) -> int:
    return main(["device", "--data", str(data / "records.jsonl"), "--name", "ours", "--out", str(out), *more])


@pytest.fixture(scope="module")
def exported(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models")
    assert export(data, out) == 0
    return out / "ours"


def cosines(folder: Path, *devices: tuple[str, str]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    encoder = FittedEncoder(folder, "device", DeviceEncoder("browser", "os"))
    made = encoder.encode([{"browser": browser, "os": system} for browser, system in devices])
    assert made.present.all()
    np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)
    return made.vectors @ made.vectors.T


def test_what_is_rare_says_more(exported: Path) -> None:
    rare = cosines(exported, ("Firefox", "Linux"), ("Firefox", "Windows"))[0, 1]
    common = cosines(exported, ("Chrome", "Windows"), ("Firefox", "Windows"))[0, 1]
    assert rare > common + 0.2  # one family in common in both


def test_the_same_device_has_cosine_one_and_strangers_none(exported: Path, data: Path) -> None:
    records = [json.loads(line) for line in (data / "records.jsonl").read_text().splitlines()]
    found = cosines(exported, *((record["browser"], record["os"]) for record in records))
    np.testing.assert_allclose(found.max(axis=1), 1, atol=1e-5)
    fixed = DeviceEncoder("browser", "os").encode(records).vectors
    assert found.mean() < 0.15
    assert (fixed @ fixed.T).mean() > 0.35


def test_a_family_that_was_not_seen_is_encoded_too(exported: Path) -> None:
    found = cosines(exported, ("Vivaldi", "BeOS"), ("Chrome", "Windows"), ("", "BeOS"))
    assert found[0, 1] < 0.1
    assert found[0, 2] > 0.3


def test_a_profile_loads_it_by_name(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEDUP_MODELS__DIRECTORY", str(exported.parent))
    profile = yaml.safe_load((ROOT / "tests" / "profiles" / "person.yaml").read_text(encoding="utf-8"))
    profile["modalities"]["device"]["model"] = "ours"
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump(profile, sort_keys=False))
    encoders = build_encoders(load_settings(), load_profile(str(path)))
    encoders.warm_up()
    assert isinstance(encoders.encoders["device"], FittedEncoder)
    fixed = build_encoders(load_settings(), load_profile(str(ROOT / "tests" / "profiles" / "person.yaml")))
    assert encoders.fingerprint != fixed.fingerprint


def test_a_changed_file_is_refused(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_bytes((exported / "spec.json").read_bytes())
    (tmp_path / "model.onnx").write_bytes((exported / "model.onnx").read_bytes()[:-1])
    with pytest.raises(ModelError, match="SHA-256"):
        FittedEncoder(tmp_path, "device", DeviceEncoder("browser", "os"))


def test_labels_decide_whether_it_is_written(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [json.loads(line) for line in (data / "records.jsonl").read_text().splitlines()]
    chance = Random(6)
    labelled = [{"id": str(number), **record} for number, record in enumerate(records)]
    (tmp_path / "records.jsonl").write_text("\n".join(map(json.dumps, labelled)))
    clusters = [f"{record['id']},{chance.randrange(150)}" for record in labelled]
    (tmp_path / "truth.csv").write_text("\n".join(["id,cluster_id", *clusters]))
    out = tmp_path / "out"
    assert export(tmp_path, out, "--truth", str(tmp_path / "truth.csv"), "--min-gain", "0.3") == 1
    assert "records of one person" in capsys.readouterr().err
    assert not out.exists()


def test_too_few_records_are_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "records.jsonl").write_text('{"browser": "Chrome", "os": "Windows"}\n' * 20)
    assert export(tmp_path, tmp_path / "out") == 1
    assert "at least 50" in capsys.readouterr().err
