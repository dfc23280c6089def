"""What exactly-once costs: the same stream through the service in both modes, in turns, on a real Kafka and Redis.

    python -m benchmarks.delivery [--records 20000] [--turns 3]

Prints, per mode, records a second and the latency from an input to its event, and as the last line JSON with the ratios of the
medians. The two modes take turns, so that what else the machine does falls on both.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks import given
from benchmarks.stream import Run
from consumer.simulate import signups
from tests import services

MODES = ("at_least_once", "exactly_once")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=given.count, default=20_000)
    parser.add_argument("--turns", type=given.count, default=3, help="of each mode")
    parser.add_argument("--rate", type=float, default=0, help="records a second; 0: as fast as it goes")
    chosen = parser.parse_args()
    figures: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records, truth = _files(folder, chosen.records)
        options = argparse.Namespace(
            records=records, truth=truth, profile="signup", rate=chosen.rate, limit=0, exact=False
        )
        for turn in range(chosen.turns):
            for mode in MODES if turn % 2 == 0 else reversed(MODES):
                # servers of its own for each run: nothing of an earlier one is in their memory or files
                own = folder / f"{turn}-{mode}"
                own.mkdir()
                with services.kafka() as broker, services.redis() as store:
                    measured = Run(options, broker.address, store.address, own, mode).measure()
                kept = ("records_per_second", "p50_ms", "p99_ms")
                figures[mode].append({name: float(str(measured[name])) for name in kept})
                print(mode, figures[mode][-1], file=sys.stderr)
    median = {
        mode: {name: statistics.median(run[name] for run in runs) for name in runs[0]} for mode, runs in figures.items()
    }
    slow, fast = median["exactly_once"], median["at_least_once"]
    ratios = {name: round(slow[name] / fast[name], 3) for name in slow if fast[name]}
    print(json.dumps({**median, "exactly_once / at_least_once": ratios}))


def _files(folder: Path, count: int) -> tuple[Path, Path]:
    records, truth = folder / "records.jsonl", folder / "truth.csv"
    made = list(signups(count, 7))
    records.write_text("".join(json.dumps({"id": s.id, **s.value}) + "\n" for s in made))
    truth.write_text("id,cluster_id\n" + "".join(f"{s.id},{s.person}\n" for s in made))
    return records, truth


if __name__ == "__main__":
    main()
