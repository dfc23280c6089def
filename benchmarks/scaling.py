"""A model of what size costs, fitted to measurements, and what it says of sizes that nobody measured.

    python -m benchmarks.scaling --ceiling ceiling.json --restore r100000.json r300000.json r1000000.json \
        [--redis-bytes 640] [--records 200000000] [--scopes 64] [--rate 2000]

`ceiling.json` is what `python -m loadtest ceiling --out` wrote, for three sizes or more; each other file holds what `python -m
benchmarks.restore measure` printed. Two laws are fitted by least squares:

    processor time of a match    = a + b * log2(records in the scope / 10,000)
    memory, files, load seconds  = base + bytes (or seconds) * records

The largest size is left out of the fit and predicted, to see what the model is worth; then it is fitted to all. A scope is
one matcher's, so records are spread evenly over the scopes, and scopes over as many matchers as the rate needs.
The last line is JSON.
"""

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import given

_SPARE = 0.7
"""Of a core; the rest is to catch up with after a stop."""
_LARGEST = 64 * 2**30
"""Bytes of memory that one matcher may have of its own."""

Law = Callable[[float], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ceiling", type=given.figures, required=True)
    parser.add_argument("--restore", type=given.figures, nargs="+", required=True)
    parser.add_argument("--redis-bytes", type=float, default=640, help="a record, as `benchmarks.stage match` says")
    parser.add_argument("--records", type=float, default=200e6)
    parser.add_argument("--scopes", type=given.count, default=64)
    parser.add_argument("--rate", type=float, default=2_000, help="records a second, of all scopes")
    chosen = parser.parse_args()
    points = _points(chosen.ceiling, chosen.restore)
    fits = {name: _fitted(name, found) for name, found in points.items()}
    for name, fit in fits.items():
        print(
            f"{name}: {fit['law']}; at {fit['at']:.0f} records {fit['predicted']:.4g} predicted, {fit['found']:.4g} found"
        )
    laws = {name: _law(name, found) for name, found in points.items()}
    shown = _at(laws, chosen.records, chosen.scopes, chosen.rate, chosen.redis_bytes)
    print(json.dumps({"fits": fits, "records": chosen.records, "scopes": chosen.scopes, "rate": chosen.rate, **shown}))


def _points(ceiling: Mapping[str, Any], loads: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """By name, what was measured at which number of records."""
    found: dict[str, list[tuple[float, float]]] = {
        "match_us": [(size["records"], size["match_stream"]["processor"]) for size in ceiling["sizes"]],
        "own_bytes": [],
        "file_bytes": [],
        "snapshot_bytes": [],
        "load_seconds": [],
    }
    for one in loads:
        count, run = one["records"], one["cached"][0]
        found["own_bytes"].append((count, run["own_bytes_per_vector"] * count))
        found["file_bytes"].append((count, run["file_bytes_per_vector"] * count))
        found["snapshot_bytes"].append((count, one["snapshot_mib"] * 2**20))
        found["load_seconds"].append((count, min(r["load_seconds"] for r in one["cached"])))
    return found


def _line(name: str, points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Intercept and slope, by least squares."""
    x = np.array([_abscissa(name, count) for count, _ in points])
    slope, base = np.polyfit(x, [value for _, value in points], 1)
    return float(base), float(slope)


def _abscissa(name: str, count: float) -> float:
    return math.log2(count / 10_000) if name == "match_us" else count


def _law(name: str, points: Sequence[tuple[float, float]]) -> Law:
    base, slope = _line(name, points)
    return lambda count: base + slope * _abscissa(name, count)


def _fitted(name: str, points: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """The law of all points, and what that of all but the largest says of the largest."""
    base, slope = _line(name, points)
    at, value = points[-1]
    unit = "log2(n / 10,000)" if name == "match_us" else "n"
    return {
        "law": f"{base:.4g} + {slope:.4g} * {unit}",
        "at": at,
        "predicted": _law(name, points[:-1])(at),
        "found": value,
    }


def _at(laws: Mapping[str, Law], records: float, scopes: int, rate: float, redis_bytes: float) -> dict[str, Any]:
    """What so many records take, in equal scopes."""
    each = records / scopes
    cores = rate * laws["match_us"](each) / 1e6 / _SPARE
    memory = scopes * laws["own_bytes"](each)
    matchers = min(scopes, max(math.ceil(cores), math.ceil(memory / _LARGEST)))
    return {
        "match_us": round(laws["match_us"](each)),
        "matchers": matchers,
        "own_gib": round(memory / 2**30, 1),
        "own_gib_per_matcher": round(memory / 2**30 / matchers, 1),
        "file_gib": round(scopes * laws["file_bytes"](each) / 2**30),
        "snapshot_gib": round(scopes * laws["snapshot_bytes"](each) / 2**30),
        "load_seconds_per_matcher": round(scopes * laws["load_seconds"](each) / matchers),
        "redis_gib": round(records * redis_bytes / 2**30),
    }


if __name__ == "__main__":
    main()
