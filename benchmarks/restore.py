"""Seconds from a snapshot on disk to a searchable index, beside those of replaying the same vectors from the start.

    python -m benchmarks.restore build --records 1000000 --folder FOLDER
    python -m benchmarks.restore measure --folder FOLDER [--rounds 3]

`build` encodes invented signups with the encoders of the profile, and times what a replay does with each batch of their
messages: unpack, and add to the index. Reading Kafka and asking the store come on top, so a real replay takes longer. It
leaves the index in FOLDER. `measure` makes a snapshot of it as the service does, then loads that in a process of its own,
with its files in the page cache and without, and tells what it takes of memory. The last line of each is JSON; seconds are
those of the clock.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import orjson

from benchmarks import given
from consumer import wiring
from consumer.adapters.disk_snapshots import DiskSnapshots
from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.adapters.snapshot_files import Origin, SnapshotFiles
from consumer.decode import decode
from consumer.encode import EncoderSet
from consumer.indexes import new_index
from consumer.profile import load_profile
from consumer.records import Message, Position, Record
from consumer.rows import Row, bring_up_to_date
from consumer.settings import Settings, load_settings
from consumer.simulate import signups
from consumer.vectors import pack_vector, unpack

BATCH = 256
"""As `limits.batch_records`."""
SEED = 7
_MODELS = "benchmark"
_START_MS = 1_750_000_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["build", "measure", "load"], help="`load` is what `measure` runs, once")
    parser.add_argument("--folder", type=given.folder, required=True)
    parser.add_argument("--records", type=given.count, default=1_000_000)
    parser.add_argument("--rounds", type=given.count, default=3)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    settings = load_settings(None, {"profile": "signup"})
    if arguments.what != "build" and not (folder / "replay.json").is_file():
        parser.error(f"{folder}: nothing was built there; run `build` with this folder first")
    if arguments.what == "build":
        figures = build(settings, folder, arguments.records)
    elif arguments.what == "measure":
        figures = measure(settings, folder, arguments.rounds)
    else:
        figures = load(settings, folder)
    print(json.dumps(figures))


def build(settings: Settings, folder: Path, count: int) -> dict[str, object]:
    """Replay `count` signups into a new index, and keep it in `folder/index`."""
    encoders = wiring.build_encoders(settings, load_profile(settings.profile))
    index = new_index(settings, encoders.layout.dim)()
    seconds = processor = 0.0
    done = 0
    source = _batches(encoders, count)
    # many at a time, for the graph goes on changing behind a batch, and encoding is not counted
    while batches := list(islice(source, 100)):
        began, busy = time.perf_counter(), time.process_time()
        for batch in batches:
            rows = [Row(unpack(m, encoders.fingerprint, encoders.layout.dim), m.position) for m in batch]
            bring_up_to_date(index, rows)
        took = time.perf_counter() - began
        seconds += took
        processor += time.process_time() - busy
        new = sum(map(len, batches))
        done += new
        print(
            f"{done} in {seconds:.0f} s ({processor:.0f} of processor), {new / took:.0f}/s of late",
            file=sys.stderr,
            flush=True,
        )
    kept = folder / "index"
    kept.mkdir(parents=True)
    began = time.perf_counter()
    index.save(kept).finish()
    figures: dict[str, object] = {
        "records": count,
        "dim": encoders.layout.dim,
        "replay_seconds": round(seconds, 1),
        "index_save_seconds": round(time.perf_counter() - began, 1),
        "replay_processor_seconds": round(processor, 1),
    }
    (folder / "replay.json").write_bytes(orjson.dumps(figures))
    return figures


def measure(settings: Settings, folder: Path, rounds: int) -> dict[str, object]:
    """Make a snapshot of the index that was built, and load it again and again, each time in a new process."""
    figures = orjson.loads((folder / "replay.json").read_bytes())
    snapshots = _snapshots(settings, folder, figures["dim"])
    index = GrowingIndex.load(folder / "index", figures["dim"], settings.index.exact_below, HnswOptions(), folder)
    began, busy = time.perf_counter(), _processor()
    staged = snapshots.stage(0, _MODELS, figures["records"], {"default": (index, figures["records"] - 1)})
    if staged is None:
        raise SystemExit("no snapshot could be written; the log says why")
    figures["stage_seconds"] = round(time.perf_counter() - began, 2)
    figures["stage_processor_seconds"] = round(_processor() - busy, 2)
    began, busy = time.perf_counter(), _processor()
    snapshots.publish(staged)
    figures["publish_seconds"] = round(time.perf_counter() - began, 2)
    figures["publish_processor_seconds"] = round(_processor() - busy, 2)
    files = [path for path in (folder / "state").rglob("*") if path.is_file()]
    figures["snapshot_mib"] = round(sum(path.stat().st_size for path in files) / 2**20)
    del index
    command = [sys.executable, "-m", "benchmarks.restore", "load", "--folder", str(folder)]
    for name in ("cached", "uncached"):
        runs = []
        for _ in range(rounds):
            if name == "uncached":
                _drop_from_cache(files)
            runs.append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout.splitlines()[-1]))
        figures[name] = runs
    return dict(figures)


def load(settings: Settings, folder: Path) -> dict[str, object]:
    """Load the snapshot in this process, and search it once with a batch."""
    figures = orjson.loads((folder / "replay.json").read_bytes())
    snapshots = _snapshots(settings, folder, figures["dim"])
    before = resident()
    began, busy = time.perf_counter(), time.process_time()
    snapshot = snapshots.load(0, _MODELS, {"default": figures["records"] - 1})
    if snapshot is None:
        raise SystemExit("the snapshot was refused; the log says why")
    loaded, processor = time.perf_counter(), time.process_time()
    index = snapshot.indexes["default"]
    queries = np.random.default_rng(SEED).standard_normal((BATCH, figures["dim"])).astype(np.float32)
    index.search(queries / np.linalg.norm(queries, axis=1, keepdims=True), settings.index.neighbours)
    after = resident()
    return {
        "records": len(index),
        "load_seconds": round(loaded - began, 2),
        "load_processor_seconds": round(processor - busy, 2),
        "first_search_seconds": round(time.perf_counter() - loaded, 2),
        "own_bytes_per_vector": round((after["RssAnon"] - before["RssAnon"]) / len(index), 1),
        "file_bytes_per_vector": round((after["RssFile"] - before["RssFile"]) / len(index), 1),
        "own_mib": after["RssAnon"] >> 20,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _snapshots(settings: Settings, folder: Path, dim: int) -> DiskSnapshots:
    """As the service has it, but for the broker, whose id of the topic is not asked for."""
    options, exact_below = HnswOptions(), settings.index.exact_below
    files = SnapshotFiles(
        Origin("signup", "vectors.signup", "of no broker"),
        lambda path: GrowingIndex.load(path, dim, exact_below, options, folder),
        max_age_seconds=7 * 86_400,
    )
    return DiskSnapshots(folder / "state", files)


def _processor() -> float:
    """Seconds of processor time, with those of child processes that have ended."""
    return sum(os.times()[:4])


def _drop_from_cache(files: Sequence[Path]) -> None:
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident() -> dict[str, int]:
    """Bytes in memory: `RssAnon`, the process's own, and `RssFile`, of files, which the system takes back at need."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss")}


def _batches(encoders: EncoderSet, count: int) -> Iterator[Sequence[Message]]:
    """The vectors messages of invented signups."""
    made = enumerate(signups(count, SEED))
    while part := list(islice(made, BATCH)):
        records: list[Record] = []
        for offset, signup in part:
            value = orjson.dumps(signup.value)
            item = decode(
                Message(Position("signups", 0, offset), signup.id.encode(), value, _START_MS + offset), encoders.profile
            )
            assert isinstance(item, Record)
            records.append(item)
        packed = [pack_vector(vector, "vectors", 0) for vector in encoders.encode(records)]
        yield [
            Message(Position("vectors", 0, offset), sent.key, sent.value, _START_MS, {})
            for (offset, _), sent in zip(part, packed, strict=True)
        ]


if __name__ == "__main__":
    main()
