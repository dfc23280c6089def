"""The evaluation of text encoders: its F1 against a brute-force one, its fairness, and the whole command on a small set."""

import csv
import importlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.whitening import Span, learnt
from export.errors import ExportError

NEEDED = ("torch", "onnx", "faker", "sklearn")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"the extra `export` is not installed: no {', '.join(MISSING)}"),
    pytest.mark.filterwarnings("default"),  # torch and faker warn
]

STEP = 1 / 2_000


@st.composite
def scored(draw: st.DrawFn) -> tuple[list[list[float]], list[str], list[str]]:
    """A symmetric matrix of similarities on the grid of the measure, entities, and sides or none."""
    count = draw(st.integers(3, 9))
    values = draw(st.lists(st.integers(-1_900, 1_900), min_size=count * count, max_size=count * count))
    matrix = np.array(values, np.float64).reshape(count, count)
    matrix = np.triu(matrix) + np.triu(matrix, 1).T
    entities = draw(st.lists(st.sampled_from("abcd"), min_size=count, max_size=count))
    sides = draw(st.one_of(st.just([]), st.lists(st.sampled_from("xy"), min_size=count, max_size=count)))
    return ((matrix + 0.5) * STEP).tolist(), entities, sides


def brute(matrix: Sequence[Sequence[float]], entities: Sequence[str], sides: Sequence[str]) -> float:
    pairs = [
        (matrix[a][b], entities[a] == entities[b])
        for a in range(len(entities))
        for b in range(a)
        if not sides or sides[a] != sides[b]
    ]
    total = sum(match for _, match in pairs)
    best = 0.0
    for threshold, _ in pairs:
        found = [match for score, match in pairs if score >= threshold]
        best = max(best, 2 * sum(found) / (len(found) + total))
    return best


@settings(max_examples=80)
@given(case=scored())
def test_the_best_f1_is_that_of_all_thresholds(case: tuple[list[list[float]], list[str], list[str]]) -> None:
    pairwise = importlib.import_module("export.evaluate.pairwise")
    matrix, entities, sides = case
    rows = np.array(matrix, np.float32)
    found = pairwise.best(lambda first, last: rows[first:last], entities, sides)
    assert found.f1 == pytest.approx(brute(matrix, entities, sides))


@settings(max_examples=50)
@given(judged=st.lists(st.tuples(st.integers(-1_900, 1_900), st.booleans()), min_size=1, max_size=20))
def test_judged_pairs_alone_are_counted(judged: list[tuple[int, bool]]) -> None:
    pairwise = importlib.import_module("export.evaluate.pairwise")
    scores = [(value + 0.5) * STEP for value, _ in judged]
    matches = [match for _, match in judged]
    options = [
        2
        * sum(m for s, m in zip(scores, matches, strict=True) if s >= t)
        / (sum(s >= t for s in scores) + sum(matches))
        for t in scores
    ]
    assert pairwise.best_of_judged(np.array(scores, np.float32), matches).f1 == pytest.approx(max(options))


def folder(at: Path, name: str, rows: Sequence[tuple[str, str, dict[str, str]]], file: str) -> Path:
    """A set of (id, entity, fields)."""
    where = at / name
    where.mkdir()
    with (where / "truth.csv").open("w", newline="") as out:
        csv.writer(out).writerows([("id", "cluster_id"), *((one, entity) for one, entity, _ in rows)])
    (where / file).write_text("\n".join(json.dumps({"id": one, **fields}) for one, _, fields in rows))
    return where


def test_two_sources_are_scored_across_them_only(tmp_path: Path) -> None:
    labelled = importlib.import_module("export.labelled")
    rows = [(f"{n}", f"{n // 2}", {"title": f"lamp {n // 2}", "source": "ab"[n % 2]}) for n in range(8)]
    where = folder(tmp_path, "shops", rows, "listings.jsonl")
    assert labelled.read(where, 1).sides == ()
    (where / "records.jsonl").write_text((where / "listings.jsonl").read_text())
    assert labelled.read(where, 1).sides == list("abababab")


def test_judged_pairs_are_read_by_row(tmp_path: Path) -> None:
    labelled = importlib.import_module("export.labelled")
    where = folder(tmp_path, "offers", [("a", "1", {"title": "x"}), ("b", "2", {"title": "y"})], "listings.jsonl")
    (where / "labelled_pairs.csv").write_text("id_a,id_b,match\nb,a,1\nb,gone,0\n")
    assert labelled.read(where, 1).pairs == [(1, 0, True)]


def test_large_sets_are_sampled_by_whole_entities(tmp_path: Path) -> None:
    labelled = importlib.import_module("export.labelled")
    rows = [(f"{n}", f"{n // 3}", {"name": f"ann {n}", "city": "york"}) for n in range(300)]
    one = labelled.read(folder(tmp_path, "people", rows, "signups.jsonl"), 1, 50)
    assert 50 <= len(one.texts) < 53
    assert {one.entities.count(entity) for entity in one.entities} == {3}
    assert one.texts[0].endswith(", york")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two generated sets of people and one of things, under names that the evaluation knows."""
    families = importlib.import_module("export.families")
    at = tmp_path_factory.mktemp("data")
    pairs = [pair for family in families.generated(45, 5) for pair in family]
    for name, field, file in (
        ("febrl1", "name", "signups.jsonl"),
        ("fake1000", "name", "signups.jsonl"),
        ("abt_buy", "title", "listings.jsonl"),
    ):
        rows = [(f"{n}{side}", f"{n}", {field: pair[side]}) for n, pair in enumerate(pairs[:60]) for side in (0, 1)]
        folder(at, name, rows, file)
        pairs = pairs[60:]
    return at


def evaluate(*arguments: str) -> int:
    main = importlib.import_module("export.evaluate.__main__").main
    return int(main(["text", *arguments]))


SIZE = ("--dim", "16", "--families", "60", "--steps", "5")


def test_the_command_trains_without_the_domain_and_prints_a_table(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.md"
    assert evaluate("--data", str(data), *SIZE, "--seeds", "1,2", "--out", str(table)) == 0
    printed = capsys.readouterr().out
    assert "seed 1, without persons: abt_buy\n" in printed
    assert "seed 2, without products: febrl1, fake1000\n" in printed
    lines = table.read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("|")][2:5] == [
        "febrl1",
        "fake1000",
        "abt_buy",
    ]
    assert sum("±" in line for line in lines) == 3
    assert str(data) not in table.read_text()


def test_a_finished_model_says_what_it_saw(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = importlib.import_module("export.__main__").main
    where = ["--name", "tiny", "--out", str(tmp_path), "--data", str(data / "febrl1"), "--min-found", "0.2"]
    assert train(["train-text", *where, *SIZE, "--check-texts", "60"]) == 0
    assert evaluate("--data", str(data), "--sets", "febrl1", "fake1000", "--model", str(tmp_path / "tiny")) == 0
    printed = capsys.readouterr().out
    assert "| febrl1 * |" in printed
    assert "| fake1000 |" in printed


def test_whitened_rows_have_the_cosines_of_a_matcher_that_has_seen_them_all() -> None:
    text = importlib.import_module("export.evaluate.text")
    rows = np.random.default_rng(1).standard_normal((300, 24)) + 2 * np.eye(24)[0]
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    unit[7] = 0
    block = learnt(unit, Span(0, 0, 24, 1.0))
    found = text.whitened(unit)
    assert not found[7].any(), "a text without a letter"
    assert found[:50] @ found.T == pytest.approx(block.cosines(unit[:50, None], unit[None]), abs=2e-3)
    assert np.abs(unit[:50] @ unit.T - found[:50] @ found.T).max() > 0.1


def test_no_set_at_all_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--data", str(tmp_path)) == 1
    assert "none of crm_composite_A" in capsys.readouterr().err


def test_a_model_of_another_kind_is_said_so(tmp_path: Path) -> None:
    train_text = importlib.import_module("export.train_text")
    with pytest.raises(ExportError, match="does not say"):
        train_text.trained_on(tmp_path)
