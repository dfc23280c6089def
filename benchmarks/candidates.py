"""What shortening vectors costs and saves: candidates found and time, by how many numbers the graph keeps.

    python -m benchmarks.candidates --input signups.jsonl --truth truth.csv [--dims 32,64,476]
    python -m benchmarks.candidates --records 100000

The last 3,000 records (or a tenth, if those are fewer) are searched for among the others: the share of their true duplicates
among the 20 best that the index finds, and the share of the five best that an exact search finds. Without files the people
are invented. One line of JSON for each number of dims; the last line has the exact search, and how many duplicates there are
to find. Times are of this process on a processor. What an index takes of memory, `benchmarks.restore` tells.
"""

import argparse
import csv
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks import given
from consumer.adapters.exact_index import ExactIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.adapters.hnsw_index import HnswIndex
from consumer.adapters.projection import Projection
from consumer.decode import decode
from consumer.profile import load_profile
from consumer.records import Floats, Message, Position, Record
from consumer.settings import load_settings
from consumer.simulate import signups
from consumer.wiring import build_encoders

_K, _BEST = 20, 5
_BATCH = 256
_LEARNT = 10_000
"""As `index.exact_below`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=given.file)
    parser.add_argument("--truth", type=given.file)
    parser.add_argument("--records", type=given.count, default=20_000, help="invented, or read")
    parser.add_argument("--dims", default="16,32,48,64,96")
    parser.add_argument("--m", type=int, default=HnswOptions().m)
    parser.add_argument("--ef", type=int, default=HnswOptions().ef)
    parser.add_argument("--ef-construction", type=int, default=HnswOptions().ef_construction)
    chosen = parser.parse_args()
    ids, vectors, owners = _read(chosen.input, chosen.truth, chosen.records)
    asked = min(3_000, len(ids) // 10)
    held, queries = vectors[:-asked], vectors[-asked:]
    exact = ExactIndex(vectors.shape[1])
    exact.add(ids[:-asked], held, [1] * len(held))
    wanted = _found(exact, queries)
    same: dict[str, set[str]] = {}
    for record_id in ids[:-asked]:
        same.setdefault(owners[record_id], set()).add(record_id)
    true = [same.get(owners[record_id], set()) for record_id in ids[-asked:]]
    learnt = exact.products() if len(held) <= _LEARNT else _products(held[:_LEARNT])
    for dims in map(int, chosen.dims.split(",")):
        options = HnswOptions(dims=dims, m=chosen.m, ef=chosen.ef, ef_construction=chosen.ef_construction)
        print(json.dumps(_measured(options, learnt, ids, held, queries, wanted, true)), flush=True)
    pairs = sum(map(len, true))
    print(json.dumps({"exact": len(held), "true_duplicates": pairs, "true_duplicates_found": _share(true, wanted)}))


def _measured(
    options: HnswOptions,
    learnt: np.ndarray,
    ids: Sequence[str],
    held: Floats,
    queries: Floats,
    wanted: Sequence[Sequence[str]],
    true: Sequence[set[str]],
) -> dict[str, float]:
    busy = time.process_time()
    index = HnswIndex(held.shape[1], options, Projection.learnt(learnt, options.dims))
    for start in range(0, len(held), _BATCH):
        part = held[start : start + _BATCH]
        index.add(ids[start : start + len(part)], part, [1] * len(part))
        index.settle()
    added = time.process_time() - busy
    busy = time.process_time()
    found = _found(index, queries)
    return {
        "dims": options.dims,
        "true_duplicates_found": _share(true, found),
        "best_five_found": _share([set(row[:_BEST]) for row in wanted], found),
        "add_us": round(1e6 * added / len(held)),
        "search_us": round(1e6 * (time.process_time() - busy) / len(queries)),
    }


def _found(index: ExactIndex | HnswIndex, queries: Floats) -> list[Sequence[str]]:
    return [hits.ids for n in range(0, len(queries), _BATCH) for hits in index.search(queries[n : n + _BATCH], _K)]


def _share(wanted: Sequence[set[str]], found: Sequence[Sequence[str]]) -> float:
    hits = sum(len(w.intersection(f)) for w, f in zip(wanted, found, strict=True))
    return round(hits / max(1, sum(map(len, wanted))), 4)


def _products(vectors: Floats) -> np.ndarray:
    exact = vectors.astype(np.float64)
    return np.asarray(exact.T @ exact)


def _read(path: Path | None, truth: Path | None, count: int) -> tuple[list[str], Floats, dict[str, str]]:
    """Ids, float32 [n, dim], and who is behind each id."""
    encoders = build_encoders(load_settings(None, {"models.cache_entries": 0}), load_profile("signup"))
    if path is None:
        made = list(signups(count, 7))
        lines: list[dict[str, Any]] = [{"id": s.id, **s.value} for s in made]
        owners = {s.id: str(s.person) for s in made}
    else:
        lines = [orjson.loads(line) for line in path.read_bytes().splitlines()[:count] if line.strip()]
        owners = {line["id"]: f"alone {line['id']}" for line in lines}
        if truth is not None:
            with truth.open(encoding="utf-8") as file:
                owners |= {row["id"]: row["cluster_id"] for row in csv.DictReader(file)}
    parts = []
    for start in range(0, len(lines), _BATCH):
        messages = [
            Message(Position("in", 0, n), str(line.pop("id")).encode(), orjson.dumps(line), 0)
            for n, line in enumerate([dict(one) for one in lines[start : start + _BATCH]], start)
        ]
        items = [decode(message, encoders.profile) for message in messages]
        parts.append(np.stack([v.values for v in encoders.encode([i for i in items if isinstance(i, Record)])]))
    return [line["id"] for line in lines], np.concatenate(parts).astype(np.float32), owners


if __name__ == "__main__":
    main()
