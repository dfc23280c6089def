"""A scope that is searched by a graph, decided by the real engine with the encoders that ship."""

import json
from pathlib import Path

import pytest

from consumer.adapters import subword_encoder
from consumer.batch import run_batch
from consumer.settings import load_settings
from consumer.simulate import signups

_EXACT_BELOW = 700
"""Fewer would not do to learn what shortens vectors."""
_RECORDS = 2500


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "signups.jsonl"
    made = [{"id": s.id, **s.value} for s in signups(_RECORDS, 3)]
    made += [{**one, "browser": "Lynx 2.9"} for one in made[::10]]  # updates, of what the graph holds
    path.write_text("".join(json.dumps(one) + "\n" for one in made))
    return path


@pytest.fixture(autouse=True)
def _encoded_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forward pass a text: the last bit of a vector may hang on what else is in its batch, which is not the matter here."""
    monkeypatch.setattr(subword_encoder, "_CPU_BATCH_IDS", 1)


def _decided(records: Path, out: Path, batch: int, exact_below: int = _EXACT_BELOW) -> dict[str, bytes]:
    changes = {"limits.batch_records": batch, "index.exact_below": exact_below, "log.level": "error"}
    run_batch(load_settings(None, dict(changes)), records, out, lambda _: None)
    return {name: (out / name).read_bytes() for name in ("events.jsonl", "possible.jsonl", "clusters.csv")}


def test_batching_does_not_change_the_answer_of_a_large_scope(records: Path, tmp_path: Path) -> None:
    small = _decided(records, tmp_path / "small", 23)
    assert small == _decided(records, tmp_path / "large", 256)
    assert small["events.jsonl"]


def test_a_graph_decides_nearly_as_an_exact_search_does(records: Path, tmp_path: Path) -> None:
    graph = _decided(records, tmp_path / "graph", 256)["clusters.csv"].splitlines()
    exact = _decided(records, tmp_path / "exact", 256, exact_below=10**6)["clusters.csv"].splitlines()
    assert sum(a != b for a, b in zip(graph, exact, strict=True)) <= 0.005 * _RECORDS
