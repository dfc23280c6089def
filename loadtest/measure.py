"""One step of a load test: what was sent, what arrived and what waited → figures, and whether they count."""

from collections.abc import Mapping, Sequence

import numpy as np

from consumer.records import Doubles
from loadtest.generator import Sent
from loadtest.lag import Sample, growth
from loadtest.latency import measured
from loadtest.outcome import Series, Step
from loadtest.reader import Arrivals
from loadtest.schedule import length_seconds
from loadtest.workload import Phase

KEPT_UP = 0.95
"""A rate is too much when less than this share of it is achieved."""
_DIVERGED_MS = 1_000
_LATE_MS = 10
_LATE_SHARE = 0.05


def step_of(
    phases: Sequence[Phase],
    warm_up_seconds: float,
    moments: Doubles,
    start_ns: int,
    sent: Sequence[Sent],
    arrivals: Mapping[str, Arrivals],
    samples: Sequence[Sample],
    drained_ns: int | None,
) -> Step:
    """`samples` are of the lag; `drained_ns` is when nothing waited any more, None if that did not come."""
    seconds = length_seconds(phases)
    first_ns, last_ns = start_ns + int(warm_up_seconds * 1e9), start_ns + int(seconds * 1e9)
    kept = {name: _between(found, first_ns, last_ns) for name, found in arrivals.items()}
    events, vectors = (measured(kept[name].latency_us) for name in ("events", "vectors"))
    counted = int((moments >= warm_up_seconds).sum())
    intended = counted / (seconds - warm_up_seconds)
    achieved = intended - growth(samples, first_ns, last_ns)
    late_ms = 1000 * float(np.percentile(np.concatenate([part.late_seconds for part in sent]), 99))
    drained = None if drained_ns is None else round(max(0.0, (drained_ns - last_ns) / 1e9), 1)
    return Step(
        seconds=seconds,
        sent=len(moments),
        intended_rate=round(intended, 1),
        achieved_rate=round(achieved, 1),
        events=events,
        vectors=vectors,
        generator_late_p99_ms=round(late_ms, 2),
        drained_seconds=drained,
        saturated=_saturation(intended, achieved, kept["events"]),
        faults=_faults(late_ms, events.p99_ms, sum(part.failed for part in sent), events.count),
        series=_series(moments, start_ns, arrivals["events"], samples, drained_ns or last_ns),
    )


def _between(arrivals: Arrivals, first_ns: int, last_ns: int) -> Arrivals:
    chosen = (arrivals.intended_ms >= first_ns // 1_000_000) & (arrivals.intended_ms <= last_ns // 1_000_000)
    return Arrivals(arrivals.intended_ms[chosen], arrivals.latency_us[chosen])


def _saturation(intended: float, achieved: float, events: Arrivals) -> str:
    if achieved < KEPT_UP * intended:
        return f"{achieved:.0f} of {intended:.0f} a second were decided"
    ordered = events.latency_us[np.argsort(events.intended_ms, kind="stable")]
    if len(ordered) < 30:
        return ""
    first, _, last = (float(np.percentile(part, 99)) / 1000 for part in np.array_split(ordered, 3))
    if last > max(2 * first, _DIVERGED_MS):
        return f"p99 went from {first:.0f} to {last:.0f} ms"
    return ""


def _faults(late_ms: float, p99_ms: float, failed: int, events: int) -> list[str]:
    faults = []
    if late_ms > max(_LATE_MS, _LATE_SHARE * p99_ms):
        faults.append(
            f"INVALID: the generator itself was late (p99 {late_ms:.1f} ms): this machine cannot send at that rate beside "
            "what else it does; use more `generators`, or another machine"
        )
    if failed:
        faults.append(f"INVALID: the broker did not take {failed} messages")
    if not events:
        faults.append("no event came: nothing was measured")
    return faults


def _series(moments: Doubles, start_ns: int, events: Arrivals, samples: Sequence[Sample], end_ns: int) -> Series:
    length = int(np.ceil((end_ns - start_ns) / 1e9)) + 1
    edges = np.arange(length + 1)
    intended = np.histogram(moments, edges)[0].astype(float)
    at = np.array([(sample.at_ns - start_ns) / 1e9 for sample in samples])
    waiting = np.array([sample.total for sample in samples], float)
    lag = np.interp(edges, at, waiting) if len(at) else np.zeros(length + 1)
    second = (events.intended_ms - start_ns // 1_000_000) // 1000
    parts = [events.latency_us[second == n] / 1000 for n in range(length)]
    return Series(
        intended=intended.tolist(),
        achieved=np.maximum(0, intended - np.diff(lag)).round(1).tolist(),
        lag=lag[1:].round().tolist(),
        p50_ms=[round(float(np.percentile(part, 50)), 1) if len(part) else None for part in parts],
        p99_ms=[round(float(np.percentile(part, 99)), 1) if len(part) else None for part in parts],
    )
