"""Latencies in an HdrHistogram: every percentile to three digits, from a microsecond to an hour."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

_LONGEST_US = 3_600_000_000
_DIGITS = 3
CURVE = (0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 99.999, 100)
"""The percentiles that are drawn."""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution, in milliseconds. All zero where nothing was measured."""

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    curve_ms: list[float]
    """At the percentiles of `CURVE`."""
    histogram: str
    """The whole of it, in microseconds: HdrHistogram's own format (V2, base64), which other tools read too."""


def measured(latency_us: Integers) -> Latency:
    """The distribution of some latencies. What took longer than an hour counts as an hour."""
    histogram = HdrHistogram(1, _LONGEST_US, _DIGITS)
    values, counts = np.unique(np.clip(latency_us, 1, _LONGEST_US), return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        histogram.record_value(value, count)

    def at(percentile: float) -> float:
        return round(histogram.get_value_at_percentile(percentile) / 1000, 3) if len(values) else 0.0

    return Latency(
        count=len(latency_us),
        p50_ms=at(50),
        p90_ms=at(90),
        p99_ms=at(99),
        p999_ms=at(99.9),
        max_ms=at(100),
        curve_ms=[at(percentile) for percentile in CURVE],
        histogram=histogram.encode().decode(),
    )
