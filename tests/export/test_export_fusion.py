"""A decider is fitted on generated people, judged on sets left out, written as a graph, and read as the service reads it."""

import csv
import importlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import yaml

from consumer.adapters.onnx_decider import OnnxDecider
from consumer.background import Background
from consumer.beliefs import Beliefs
from consumer.errors import ModelError
from consumer.learned_fusion import LearnedFusion
from consumer.profile import load_profile
from consumer.settings import load_settings
from consumer.simulate import signups
from consumer.wiring import build_encoders, build_fusion
from export.__main__ import main
from tests.factories import PERSON

MISSING = [name for name in ("onnx",) if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason="the extra `export` is not installed")

RECORDS = 240
MODALITIES = ["name", "city", "behaviour", "device"]
TERMS = ["--crowding", "name=0.6", "city=0.9", "--quality", "--whitened", "name", "--background", "0.3"]
NAMED = ["crowding name", "crowding city", "quality", "crowding"]
Said = pytest.CaptureFixture[str]


def write(folder: Path, records: Sequence[Mapping[str, object]], truth: Mapping[str, object] | None) -> Path:
    folder.mkdir(parents=True)
    (folder / "persons.jsonl").write_text("\n".join(map(json.dumps, records)), "utf-8")
    if truth is not None:
        lines = [f"{record},{cluster}" for record, cluster in truth.items()]
        (folder / "truth.csv").write_text("\n".join(["id,cluster_id", *lines]), "utf-8")
    return folder


def people(seed: int) -> tuple[list[dict[str, object]], dict[str, int]]:
    """Records with planted duplicates, and who is who."""
    made = list(signups(RECORDS, seed))
    return [{"id": s.id, **s.value} for s in made], {s.id: s.person for s in made}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folders with all of the truth: `one`, `two`, `three`."""
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("one", "two", "three"), start=1):
        write(folder / name, *people(seed))
    return folder


def export(folders: Sequence[Path], out: Path, *more: str) -> int:
    named = [str(folder) for folder in folders]
    return main(["fusion", "--profile", str(PERSON), "--data", *named, "--name", "ours", "--out", str(out), *more])


@pytest.fixture(scope="module")
def exported(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models")
    assert export([data / "one", data / "two", data / "three"], out, *TERMS) == 0
    return out / "ours"


def spec_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "spec.json").read_text("utf-8"))
    return content


def test_the_spec_says_what_was_fitted_and_what_it_is_worth(exported: Path, data: Path) -> None:
    spec = spec_of(exported)
    assert (spec["modality"], spec["kind"], spec["modalities"]) == ("decider", "additive", MODALITIES)
    assert spec["profile"] == "person", "its name, and no path of this machine"
    assert [(t["modality"], t["similarity"]) for t in spec["crowding"]] == [("name", 0.6), ("city", 0.9)]
    assert all(term["usual"] > 0 for term in spec["crowding"])
    assert spec["quality"] is True
    assert spec["whitened"] == ["name"]
    assert spec["background"]["slope"] == 0.3
    assert spec["background"]["usual"] < -3, "who is farthest is a stranger"
    assert spec["background"]["most"] > 0
    assert 0 < spec["base_rate"] < 0.5
    assert spec["training"].keys() == {"one", "two", "three"}
    assert all(0 < t["matches"] < t["pairs"] for t in spec["training"].values())
    thresholds = importlib.import_module("export.fusion").THRESHOLDS
    for measured in (spec["left_out"], spec["halves"]):
        assert tuple(measured["thresholds"]) == thresholds
        assert len(measured["f1"]) == len(measured["precision"]) == 3
        means = np.mean(list(measured["f1"].values()), axis=0)
        assert measured["mean_f1"] == pytest.approx(means, abs=1e-4)
        assert max(means) > 0.8
    assert set(spec["left_out"]["f1"]) == {"one", "two", "three"}
    assert str(data.parent) not in (exported / "spec.json").read_text("utf-8")
    assert "one, two, three" in (exported / "NOTICE").read_text("utf-8")


def test_probabilities_mean_what_they_say(exported: Path) -> None:
    bins = spec_of(exported)["reliability"]
    gap = sum(b["pairs"] * abs(b["mean"] - b["matches"]) for b in bins) / sum(b["pairs"] for b in bins)
    assert gap < 0.03


def test_the_service_reads_the_folder(exported: Path) -> None:
    decider, spec = OnnxDecider(exported), spec_of(exported)
    assert list(decider.modalities) == MODALITIES
    assert decider.crowding == {"name": 0.6, "city": 0.9}
    assert decider.expectations.base_rate == spec["base_rate"]
    assert decider.background == Background(**spec["background"])


def test_a_pair_does_not_depend_on_its_batch(exported: Path) -> None:
    decider, rng = OnnxDecider(exported), np.random.default_rng(1)
    similarities = rng.uniform(-1, 1, (500, 4)).astype(np.float32)
    present, beyond = rng.random((500, 4)) < 0.7, rng.normal(size=(500, 3))
    whole = decider.weigh(similarities, present, beyond)
    for size in (1, 2, 3, 7, 33, 256):
        parts = [slice(start, start + size) for start in range(0, 500, size)]
        cut = np.concatenate([decider.weigh(similarities[p], present[p], beyond[p]) for p in parts])
        assert np.array_equal(cut, whole)
    assert decider.weigh(similarities[:0], present[:0], beyond[:0]).shape == (0, 8)


def test_the_graph_says_what_was_fitted() -> None:
    """Against the formula, over coefficients of every kind."""
    additive, graph = (importlib.import_module(f"export.{name}") for name in ("additive", "decider_graph"))
    expectations = importlib.import_module("consumer.beliefs").Expectations
    session = importlib.import_module("consumer.adapters.onnx_session")
    rng = np.random.default_rng(2)
    for modalities, terms, quality in ((3, 2, 1), (3, 2, 0), (1, 0, 0), (2, 0, 1), (5, 1, 0)):
        names = [f"m{n}" for n in range(modalities)]
        made = additive.Additive(
            names,
            dict.fromkeys(names[:terms], 0.5),
            expectations([0.1] * (terms + quality), 0.1, 0.5),
            -3.25,
            rng.normal(size=modalities),
            rng.normal(0, 5, size=(modalities, 1 + len(additive.KNOTS))),
            rng.normal(size=terms),
            -1.75 if quality else None,
        )
        loaded = session.Session(graph.graph(made), Path("here"), providers=[session.CPU], threads=1)
        similarities = rng.uniform(-1, 1, (200, modalities)).astype(np.float32)
        present = rng.random((200, modalities)) < 0.5
        beyond = rng.normal(size=(200, terms + quality)).astype(np.float32)
        inputs = {"similarities": similarities, "present": present.astype(np.float32), "crowding": beyond[:, :terms]}
        inputs |= {"quality": beyond[:, terms:]} if quality else {}
        wanted = np.full((200, 1 + modalities + terms + quality), made.intercept)
        for m in range(modalities):
            x = np.maximum(similarities[:, m].astype(np.float64), 0)
            bent = sum(
                slope * np.maximum(x - knot, 0) for slope, knot in zip(made.slopes[m, 1:], additive.KNOTS, strict=True)
            )
            wanted[:, 1 + m] = np.where(present[:, m], made.constants[m] + made.slopes[m, 0] * x + bent, 0)
        wanted[:, 1 + modalities :] = beyond * [*made.crowding_slopes, *([-1.75] if quality else [])]
        np.testing.assert_allclose(loaded.run("log_odds", inputs), wanted, atol=1e-5)
        np.testing.assert_allclose(made.weigh(similarities, present, beyond), wanted, atol=1e-9)


def profile_with(tmp_path: Path, **fusion: object) -> Path:
    content = yaml.safe_load(PERSON.read_text("utf-8"))
    learned = {"kind": "learned", "model": "ours", "duplicate": 0.8, "possible": 0.3, "min_evidence": 0.5}
    content["alternatives"] = {"fitted": {**learned, **fusion}}
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    return path


def test_a_profile_decides_with_it(exported: Path, tmp_path: Path) -> None:
    overrides = {"matching.fusion": "fitted", "models.directory": exported.parent}
    settings = load_settings(None, overrides)
    fusion = build_fusion(settings, build_encoders(settings, load_profile(str(profile_with(tmp_path)))))
    assert isinstance(fusion, LearnedFusion)
    comparison = importlib.import_module("consumer.comparison").Comparison
    similarities = np.array([[1, 1, 0, 0], [0.05, 0, 0, 0], [1, 1, 0.9, 1]], np.float32)
    pairs = comparison(np.zeros(3, np.int64), ["a", "b", "c"], similarities, np.array([[3, 3], [3, 15], [15, 15]]))
    same, stranger, all_of_it = fusion.judge(pairs, Beliefs())
    assert same is not None
    assert same.duplicate
    assert stranger is None
    assert all_of_it is not None
    assert all_of_it.duplicate
    assert list(all_of_it.contributions) == ["base", "prior", *MODALITIES, *NAMED]


def test_a_table_of_sets_left_out_is_printed(data: Path, tmp_path: Path, capsys: Said) -> None:
    assert export([data / "one", data / "two"], tmp_path) == 0
    said = capsys.readouterr().out
    for heading in (
        "one: 240 records",
        "mean F1",
        "threshold",
        "pairs from 0.9",
        "from 0.0: said",
        "largest difference",
    ):
        assert heading in said
    assert f"wrote {tmp_path / 'ours'}" in said


def test_a_neuron_has_a_weight_a_modality(data: Path, tmp_path: Path) -> None:
    more = ["--kind", "neuron", "--crowding", "name=0.6", "--quality", "--background", "0.3"]
    assert export([data / "one", data / "two"], tmp_path, *more) == 0
    spec, decider = spec_of(tmp_path / "ours"), OnnxDecider(tmp_path / "ours")
    assert (spec["kind"], spec["crowding"], spec["damping"]) == ("neuron", [], 0.0)
    assert spec["quality"] is False
    assert spec["background"] is None
    present, none = np.ones((3, 4), bool), np.zeros((3, 0))
    steps = np.array([[0.0] * 4, [0.4] * 4, [0.8] * 4], np.float32)
    log_odds = decider.weigh(steps, present, none)
    assert not log_odds[0, 1:].any(), "no constant of its own"
    np.testing.assert_allclose(log_odds[2] - log_odds[1], log_odds[1] - log_odds[0], atol=1e-5)


def test_the_same_data_give_the_same_decider(exported: Path, data: Path, tmp_path: Path) -> None:
    folders = [data / "one", data / "two", data / "three"]
    assert export(folders, tmp_path, *TERMS) == 0
    again, first = OnnxDecider(tmp_path / "ours"), OnnxDecider(exported)
    similarities, present = np.full((1, 4), 0.7, np.float32), np.ones((1, 4), bool)
    asked = similarities, present, np.ones((1, 3))
    np.testing.assert_allclose(again.weigh(*asked), first.weigh(*asked), atol=1e-4)


def test_what_is_said_to_speak_against_does(data: Path, tmp_path: Path) -> None:
    """A city that contradicts costs more, after a fit that was shown such pairs as different."""
    said = []
    for name, more in (("plain", []), ("against", ["--against", "city"])):
        assert export([data / "one", data / "two"], tmp_path / name, *more) == 0
        decider = OnnxDecider(tmp_path / name / "ours")
        similarities = np.array([[1, 1, 0.5, 1], [1, 0.05, 0.5, 1]], np.float32)
        agrees, differs = decider.weigh(similarities, np.ones((2, 4), bool), np.zeros((2, 0))).sum(axis=1)
        said.append(agrees - differs)
    assert said[1] > said[0] + 1


def test_what_only_one_folder_has_is_fitted_all_the_same(data: Path, tmp_path: Path) -> None:
    """Where that folder is left out, the fit knows nothing of it."""
    bare = [{key: value for key, value in r.items() if key not in {"browser", "os"}} for r in people(10)[0]]
    folder = write(tmp_path / "bare", bare, people(10)[1])
    more = ["--against", "device", "--crowding", "device=0.9", "name=0.6"]
    assert export([data / "one", folder], tmp_path / "out", *more) == 0
    assert spec_of(tmp_path / "out" / "ours")["modalities"] == MODALITIES


def judged_pairs(seed: int, count: int) -> list[tuple[str, str, bool]]:
    """Pairs of which people know: all that are one, and as many that are not but share a word."""
    records, truth = people(seed)
    words = {str(r["id"]): set(str(r.get("name")).lower().split()) for r in records}
    pairs = [(a, b, truth[a] == truth[b]) for a, b in combinations(truth, 2) if words[a] & words[b]]
    chance = Random(seed)
    chance.shuffle(pairs)
    same, others = [p for p in pairs if p[2]][:count], [p for p in pairs if not p[2]][:count]
    return same + others


def test_pairs_that_people_judged_count_too(data: Path, tmp_path: Path) -> None:
    pairs = judged_pairs(7, 60)
    labelled = write(tmp_path / "labelled", people(7)[0], None)
    with (labelled / "labelled_pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id_a", "id_b", "match"])
        rows.writerows((b, a, int(same)) for a, b, same in pairs)
    told = write(tmp_path / "told", people(7)[0], None)
    said = [
        {"a": a, "b": b, "verdict": "same" if same else "different", "by": "x", "profile": "person"}
        for a, b, same in pairs
    ]
    taken_back = {**said[0], "verdict": "undecided"}
    (told / "feedback.jsonl").write_text("\n".join(map(json.dumps, [*said, taken_back])), "utf-8")

    assert export([data / "one", data / "two", labelled, told], tmp_path / "out") == 0
    spec = spec_of(tmp_path / "out" / "ours")
    by_pairs, by_words = spec["training"]["labelled"], spec["training"]["told"]
    assert 0 < by_pairs["matches"] <= 60
    assert 0 < by_pairs["pairs"] <= 120
    assert by_words["matches"] in {by_pairs["matches"], by_pairs["matches"] - 1}
    assert set(spec["left_out"]["f1"]) == {"one", "two"}, "clusters are scored where all is known"


def test_pairs_of_one_source_are_not_known_where_the_truth_is_across_sources(data: Path, tmp_path: Path) -> None:
    records, truth = people(8)
    for number, record in enumerate(records):
        record["source"] = "crm" if number % 2 else "shop"
    folder = write(tmp_path / "two_sources", records, truth)
    assert export([data / "one", folder], tmp_path / "a") == 0
    assert export([data / "one", folder], tmp_path / "b", "--across", "two_sources") == 0
    all_pairs, across = (spec_of(tmp_path / out / "ours")["training"]["two_sources"]["pairs"] for out in "ab")
    assert 0 < across < all_pairs


def refused(folders: Sequence[Path], tmp_path: Path, capsys: Said, *more: str) -> str:
    """What is said; nothing is written."""
    out = tmp_path / "out"
    assert export(folders, out, *more) == 1
    assert not out.exists()
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err


def test_one_folder_is_too_few(data: Path, tmp_path: Path, capsys: Said) -> None:
    assert "two folders with truth.csv" in refused([data / "one"], tmp_path, capsys)


def test_two_folders_of_one_name_cannot_be_told_apart(data: Path, tmp_path: Path, capsys: Said) -> None:
    twin = write(tmp_path / "one", *people(9))
    assert "one: two folders of that name" in refused([data / "one", twin], tmp_path, capsys)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--crowding", "shoe=0.5"], "modalities are name, city, behaviour, device"),
        (["--crowding", "name"], "MODALITY=COSINE"),
        (["--crowding", "name=high"], "MODALITY=COSINE"),
        (["--crowding", "name=nan"], "MODALITY=COSINE"),
        (["--across", "four"], "four"),
        (["--against", "shoe"], "modalities are name, city, behaviour, device"),
        (["--whitened", "shoe"], "--whitened shoe: the profile's modalities are name, city, behaviour, device"),
        (["--damping", "1.5"], "--damping 1.5"),
        (["--damping", "-1"], "--damping -1"),
        (["--damping", "nan"], "--damping nan"),
        (["--background", "1.5"], "--background 1.5"),
        (["--background", "nan"], "--background nan"),
        (["--ridge", "0"], "--ridge 0"),
        (["--text-models", "subword"], "1 names for 2 folders"),
        (["--profile", "nosuch"], "neither built in"),
    ],
)
def test_arguments_that_make_no_sense(more: list[str], said: str, data: Path, tmp_path: Path, capsys: Said) -> None:
    assert said in refused([data / "one", data / "two"], tmp_path, capsys, *more)


def spoil(folder: Path, name: str, content: str | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content, "utf-8")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("persons.jsonl", None, "persons.jsonl"),
        ("persons.jsonl", '{"name": "Ann"}', "with an id"),
        ("persons.jsonl", '{"id": 7, "name": "Ann"}', "with an id"),
        ("persons.jsonl", '["a"]', "with an id"),
        ("persons.jsonl", "not json", "a JSON object a line"),
        ("persons.jsonl", '{"id": "r1", "name": ["x"]}', "record r1: name"),
        ("truth.csv", None, "truth.csv"),
        ("truth.csv", "a,b\n1,2", "columns id and cluster_id"),
        ("truth.csv", "id,cluster_id\nelsewhere,1", "brings no pair together"),
        ("labelled_pairs.csv", "a,b\n1,2", "id_a, id_b and match"),
        ("labelled_pairs.csv", "id_a,id_b,match\n1,2", "id_a, id_b and match"),
        ("labelled_pairs.csv", "id_a,id_b,match\n1,2,maybe", "id_a, id_b and match"),
        ("labelled_pairs.csv", "id_a,id_b,match\n1,2,1", "brings no pair together"),
        ("feedback.jsonl", '{"a": "1"}', "line 1"),
    ],
)
def test_data_that_will_not_do(
    name: str, content: str | None, said: str, data: Path, tmp_path: Path, capsys: Said
) -> None:
    folder = write(tmp_path / "bad", *people(9))
    spoil(folder, name, content)
    told = refused([data / "one", data / "two", folder], tmp_path, capsys)
    assert said in told
    assert "bad" in told


def test_without_candidates_there_is_no_background(tmp_path: Path, capsys: Said) -> None:
    folders = []
    for seed in (1, 2):
        few = people(seed)[0][:12]
        folders.append(write(tmp_path / str(seed), few, {str(r["id"]): n // 2 for n, r in enumerate(few)}))
    assert "--background: no record" in refused(folders, tmp_path, capsys, "--background", "0.3")


@pytest.mark.parametrize("cluster", ["alone", "all one"])
def test_sets_in_which_all_pairs_are_alike_teach_nothing(
    cluster: str, data: Path, tmp_path: Path, capsys: Said
) -> None:
    records, truth = people(9)
    folder = write(tmp_path / "flat", records, {r: r if cluster == "alone" else 1 for r in truth})
    assert "of the known pairs of flat" in refused([data / "one", folder], tmp_path, capsys)


def test_a_changed_graph_is_refused(exported: Path, tmp_path: Path) -> None:
    for file in ("spec.json", "model.onnx"):
        (tmp_path / file).write_bytes((exported / file).read_bytes())
    (tmp_path / "model.onnx").write_bytes((exported / "model.onnx").read_bytes()[:-1])
    with pytest.raises(ModelError, match="SHA-256"):
        OnnxDecider(tmp_path)
