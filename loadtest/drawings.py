"""The drawings of a report, as PNG."""

import io
from collections.abc import Mapping

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtest.latency import CURVE
from loadtest.outcome import Memory, Outcome, Step

_SIZE = (7, 4)


def drawings(outcome: Outcome) -> Mapping[str, bytes]:
    """File name → PNG, of what this run has."""
    shown = outcome.knee or outcome.steps[-1]
    figures = {
        "latency.png": _latency(shown),
        "throughput.png": _throughput(shown),
        "latency_over_time.png": _over_time(shown),
        "lag.png": _lag(shown),
    }
    if len(outcome.steps) > 1:
        figures["sweep.png"] = _sweep(outcome)
    if outcome.costs:
        figures["stages.png"] = _stages(outcome)
    if outcome.memory is not None:
        figures["memory.png"] = _memory(outcome.memory)
    return {name: _png(figure) for name, figure in figures.items()}


def _axes(**labels: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set(**labels)
    return figure, axes


def _latency(step: Step) -> Figure:
    """By percentile, spread so that the tail is seen: 99 is as far from 99.9 as 90 is from 99."""
    figure, axes = _axes(xlabel="percentile", ylabel="milliseconds")
    places = [1 / max(1 - percentile / 100, 1e-5) for percentile in CURVE]
    for name, latency in (("to the event", step.events), ("to the vector", step.vectors)):
        seen = [(x, y) for x, y in zip(places, latency.curve_ms, strict=True) if x <= max(latency.count, 1)]
        axes.plot([x for x, _ in seen], [max(y, 0.1) for _, y in seen], label=f"{name} ({latency.count})")
    axes.set(xscale="log", yscale="log")
    axes.set_xticks([1, 2, 10, 100, 1_000, 10_000], ["0", "50", "90", "99", "99.9", "99.99"])
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _throughput(step: Step) -> Figure:
    figure, axes = _axes(xlabel="seconds", ylabel="messages a second")
    axes.plot(step.series.intended, label="intended")
    axes.plot(step.series.achieved, label="achieved")
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def _over_time(step: Step) -> Figure:
    figure, axes = _axes(xlabel="seconds", ylabel="milliseconds to the event")
    for name, values in (("p50", step.series.p50_ms), ("p99", step.series.p99_ms)):
        axes.plot([float("nan") if value is None else value for value in values], label=name)
    axes.set_yscale("log")
    axes.legend()
    return figure


def _lag(step: Step) -> Figure:
    figure, axes = _axes(xlabel="seconds", ylabel="messages that wait")
    axes.plot(step.series.lag)
    axes.set_ylim(bottom=0)
    return figure


def _sweep(outcome: Outcome) -> Figure:
    figure, axes = _axes(xlabel="messages a second, intended", ylabel="milliseconds to the event")
    rates = [step.intended_rate for step in outcome.steps]
    for name, values in (
        ("p50", [step.events.p50_ms for step in outcome.steps]),
        ("p99", [step.events.p99_ms for step in outcome.steps]),
    ):
        axes.plot(rates, values, "o-", label=name)
    for step in outcome.steps:
        if step.saturated:
            axes.axvline(step.intended_rate, linestyle=":", color="grey", label="too much")
    axes.set_yscale("log")
    axes.legend()
    return figure


def _stages(outcome: Outcome) -> Figure:
    """`process` is left out: the steps inside it are shown."""
    figure, axes = _axes(xlabel="milliseconds a record")
    costs = [cost for cost in outcome.costs if not (cost.stage == "match" and cost.step == "process")][::-1]
    axes.barh([f"{cost.stage}: {cost.step}" for cost in costs], [cost.milliseconds_per_record for cost in costs])
    return figure


def _memory(memory: Memory) -> Figure:
    figure, axes = _axes(xlabel="seconds", ylabel="resident MiB")
    axes.plot(memory.seconds, memory.resident_mib)
    axes.set_ylim(bottom=0)
    return figure


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure.savefig(content, format="png", dpi=110)
    return content.getvalue()
