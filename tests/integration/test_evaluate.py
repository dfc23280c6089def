"""`dedup evaluate` as a person meets it: a labelled file in, figures and a page out."""

import csv
import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from consumer.evaluate import read_truth
from consumer.evaluation import pairwise
from consumer.mistakes import largest_false
from consumer.simulate import signups
from tests.command_line import assert_refused, dedup
from tests.deployment import PERSON

RECORDS = 250


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("labelled")
    drawn = list(signups(RECORDS, seed=6))
    lines = [orjson.dumps({"id": s.id, "source": f"shop {n % 2}", **s.value}) for n, s in enumerate(drawn)]
    (folder / "records.jsonl").write_bytes(b"\n".join([*lines, b"no JSON"]))
    with (folder / "truth.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "cluster_id"])
        writer.writerows((s.id, s.person) for s in drawn[:-5])
    return folder / "records.jsonl", folder / "truth.csv"


def test_the_figures_are_those_of_the_engine(labelled: tuple[Path, Path], tmp_path: Path) -> None:
    records, truth = labelled
    done = dedup(
        "evaluate", records, "--truth", truth, "--profile", PERSON, "--orders", "2", "--out", tmp_path, "--json"
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["records"], summary["rejected"], summary["unlabelled"]) == (RECORDS, 1, 5)
    assert json.loads((tmp_path / "summary.json").read_bytes()) == summary

    dedup("batch", records, "--out", tmp_path / "batch", "--profile", PERSON)
    true, found = read_truth(truth), read_truth(tmp_path / "batch" / "clusters.csv")
    scores = pairwise(true, found)
    assert summary["pairwise"]["scores"] == {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}
    assert scores.f1 > 0.5
    assert summary["pairwise"]["intervals"]["f1"]["low"] <= scores.f1 <= summary["pairwise"]["intervals"]["f1"]["high"]
    assert summary["candidate_recall"] > 0.9
    assert len(summary["orders"]) == 2
    largest = largest_false(true, found)
    assert summary["largest_false"] == {"records": largest.records, "entities": largest.entities}
    assert len(summary["subsets"]) == 2 ** len(summary["best_pairs"]["modalities"]) - 1
    for pair in summary["worst"]:
        same_person, together = true[pair["a"]] == true[pair["b"]], found[pair["a"]] == found[pair["b"]]
        assert (same_person, together) == {"merged": (False, True), "missed": (True, False)}[pair["kind"]]

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("precision_recall.png", "scores.png", "sizes.png"))
    assert summary["worst"]
    assert all(pair["a"] in page for pair in summary["worst"])


def test_across_sources_other_pairs_count(labelled: tuple[Path, Path]) -> None:
    records, truth = labelled
    everywhere, across = (
        json.loads(
            dedup("evaluate", records, "--truth", truth, "--profile", PERSON, "--orders", "0", "--json", *more).stdout
        )
        for more in ([], ["--cross-source"])
    )
    assert across["cross_source"]
    assert across["pairwise"] != everywhere["pairwise"]
    assert across["fingerprint"] == everywhere["fingerprint"]


def test_a_share_of_the_entities_is_there_once(labelled: tuple[Path, Path]) -> None:
    """Which ones is drawn: the same by the same seed. Records without a label stay."""
    records, truth = labelled
    entities = set(read_truth(truth).values())

    def summary(*more: str) -> dict[str, Any]:
        done = dedup("evaluate", records, "--truth", truth, "--profile", PERSON, "--orders", "0", "--json", *more)
        content: dict[str, Any] = json.loads(done.stdout)
        return content

    none, half, same, other, every = (
        summary("--singles", share, "--seed", seed)
        for share, seed in (("0", "7"), ("0.5", "7"), ("0.5", "7"), ("0.5", "8"), ("1", "7"))
    )
    assert none["records"] == RECORDS
    assert every["records"] == len(entities) + 5
    assert every["true_sizes"] == {"1": len(entities)}
    assert every["records"] < half["records"] < none["records"]
    assert half == same
    assert half["true_sizes"] != other["true_sizes"]


def test_in_words(labelled: tuple[Path, Path]) -> None:
    records, truth = labelled
    done = dedup("evaluate", records, "--truth", truth, "--profile", PERSON, "--orders", "0")
    assert "pairwise: precision" in done.stdout
    assert "string matching: F1" in done.stdout


def test_files_that_cannot_be_used(labelled: tuple[Path, Path], tmp_path: Path) -> None:
    records, truth = labelled
    (tmp_path / "columns.csv").write_text("record,cluster\na,b\n")
    assert_refused(
        dedup("evaluate", records, "--truth", tmp_path / "columns.csv", "--profile", PERSON), "id and cluster_id"
    )
    (tmp_path / "others.csv").write_text("id,cluster_id\nnobody,1\n")
    assert_refused(dedup("evaluate", records, "--truth", tmp_path / "others.csv", "--profile", PERSON), "names none")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    assert_refused(dedup("evaluate", records, "--truth", tmp_path / "binary.csv", "--profile", PERSON), "binary.csv")
    assert_refused(dedup("evaluate", records, "--truth", tmp_path / "none.csv"), "none.csv", code=2)
    (tmp_path / "one.jsonl").write_text(records.read_text().replace("shop 1", "shop 0"))
    assert_refused(
        dedup("evaluate", tmp_path / "one.jsonl", "--truth", truth, "--profile", PERSON, "--cross-source"), "source"
    )
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "below"
    done = dedup("evaluate", records, "--truth", truth, "--profile", PERSON, "--orders", "0", "--out", out)
    assert_refused(done, "below")
