"""The behaviour encoder is fitted on generated habits, folded into a graph, and loaded by the consumer."""

import importlib
import importlib.util
import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from consumer.adapters.behaviour_encoder import BehaviourEncoder
from consumer.adapters.device_encoder import DeviceEncoder
from consumer.adapters.fitted_encoder import FittedEncoder
from consumer.errors import ModelError
from export.__main__ import main

MISSING = [name for name in ("onnx",) if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason="the extra `export` is not installed")

START = datetime.fromisoformat("2024-03-04")


def habit(rng: np.random.Generator, logins: int) -> list[str]:
    """Times of one person of an office: everybody comes by day on workdays, each with hours and a rhythm of their own."""
    hour, rhythm, times, day = rng.uniform(8, 18), rng.choice([0.3, 1.0, 4.0]), [], 0.0
    for _ in range(logins):
        day += rng.exponential(rhythm)
        weekday = int(day) + (2 if int(day) % 7 > 4 else 0)
        times.append((START + timedelta(days=weekday, hours=float(hour + rng.normal(0, 1.0)))).isoformat())
    return times


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two records of each of 150 persons, and who is who."""
    rng, folder = np.random.default_rng(5), tmp_path_factory.mktemp("data")
    records, truth = [], ["id,cluster_id"]
    for person in range(150):
        times = habit(rng, 40)
        for side, own in (("a", times[:20]), ("b", times[20:])):
            records.append({"id": f"{person}{side}", "times": own})
            truth.append(f"{person}{side},{person}")
    (folder / "records.jsonl").write_text("\n".join(map(json.dumps, records)))
    (folder / "truth.csv").write_text("\n".join(truth))
    return folder


def export(data: Path, out: Path, *more: str) -> int:
    asked = ["--data", str(data / "records.jsonl"), "--field", "times", "--name", "ours", "--out", str(out)]
    return main(["behaviour", *asked, *more])


@pytest.fixture(scope="module")
def exported(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models")
    assert export(data, out, "--truth", str(data / "truth.csv")) == 0
    return out / "ours"


def test_the_spec_says_what_the_fit_is_worth(exported: Path, data: Path) -> None:
    spec = json.loads((exported / "spec.json").read_text())
    assert (spec["modality"], spec["dim"], spec["training"]["records"]) == ("behaviour", 64, 240)
    assert [gain["pairs"] for gain in spec["gain"]] == [
        "earlier and later half of one history",
        "records of one person",
    ]
    assert all(gain["auc_fitted"] > gain["auc_fixed"] for gain in spec["gain"])
    assert set(spec["compared"]) == {"fp32", "fp16", "int8"}
    assert str(data) not in (exported / "spec.json").read_text()


def test_the_consumer_says_what_was_fitted(exported: Path, data: Path) -> None:
    """Against the formula, written out: habit less baseline, whitened, beside the part drawn from the times."""
    module = importlib.import_module("export.behaviour")
    inner = BehaviourEncoder("times")
    records = [json.loads(line) for line in (data / "records.jsonl").read_text().splitlines()]
    whose = [record["id"][:-1] for record in records]
    fit_rows, _ = importlib.import_module("export.own_records").split(
        len(records), [f"cluster {person}" for person in whose], 7
    )
    weights = module.fit(inner, [records[row] for row in fit_rows], 0)
    rows = [{"times": ["2024-03-04T09:00:00"]}, {"times": []}, *records[:20]]
    made = FittedEncoder(exported, "behaviour", inner).encode(rows)
    assert made.present.tolist() == [True, False, *[True] * 20]
    features, _ = inner.features(rows)
    expected = module.vectors(features[made.present], weights)
    np.testing.assert_allclose(made.vectors[made.present], expected, atol=1e-5)
    assert not made.vectors[1].any()
    np.testing.assert_allclose(np.linalg.norm(made.vectors[made.present], axis=1), 1, atol=1e-5)


def test_a_batch_equals_its_rows_alone(exported: Path, data: Path) -> None:
    encoder = FittedEncoder(exported, "behaviour", BehaviourEncoder("times"))
    rows = [json.loads(line) for line in (data / "records.jsonl").read_text().splitlines()]
    together = encoder.encode(rows).vectors
    alone = np.concatenate([encoder.encode([row]).vectors for row in rows])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_changed_or_foreign_folder_is_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="device"):
        FittedEncoder(exported, "device", DeviceEncoder("browser", "os"))
    for name in ("model.onnx", "spec.json"):
        (tmp_path / name).write_bytes((exported / name).read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"another")
    with pytest.raises(ModelError, match="SHA-256"):
        FittedEncoder(tmp_path, "behaviour", BehaviourEncoder("times"))


def test_a_fit_that_gains_nothing_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(data, tmp_path, "--min-gain", "0.9") == 1
    assert "nothing was written" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"times": ["2024-01-01T00:00:00"]}\n' * 60, "histories of 8 logins"),
        ('{"times": []}\nnot json\n', "line 2"),
        ("[1]\n", "no JSON object"),
        ('{"times": []}\n{"times": ["2024-01-01", 3]}\n', "line 2: times[1]: not an ISO 8601 time"),
        ('{"times": 7}\n', "line 1: times: a list of ISO 8601 times is wanted"),
    ],
)
def test_data_that_will_not_do_is_said_so(
    content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "records.jsonl").write_text(content)
    assert export(tmp_path, tmp_path / "out") == 1
    assert said in capsys.readouterr().err


def test_no_more_records_are_measured_on_than_all_pairs_of_can_be_held() -> None:
    own_records = importlib.import_module("export.own_records")
    fit, measured = own_records.split(50_000, None, 7)
    assert (len(fit), len(measured)) == (46_000, own_records.MOST)
    whose = [f"cluster {row // 3}" for row in range(30_000)]
    fit, measured = own_records.split(len(whose), whose, 7)
    assert own_records.MOST - 3 < len(measured) <= own_records.MOST
    assert not {whose[row] for row in fit} & {whose[row] for row in measured}


@pytest.mark.parametrize("wrong", [["--name", ""], ["--name", "../.."], ["--seed", "-1"], ["--max-bytes", "0"]])
def test_arguments_that_will_not_do_are_said_so(
    wrong: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        export(data, tmp_path, *wrong)
    assert f"argument {wrong[0]}: " in capsys.readouterr().err
