"""The ceiling beside the stream: sums, efficiencies, and whether the targets are met."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from loadtest.ceiling.clock import Cost, total
from loadtest.ceiling.measure import Ceiling, Size

TARGETS = {"encode": 0.85, "match": 0.75}
"""Efficiency: what the parts cost by themselves as a share of what the stage costs, by the wall."""
GROWTH = 1.6
"""The most that a record may cost more with a million in the index than with ten thousand."""
STAGES = ("encode", "match", "whole")


def summary(ceiling: Ceiling) -> dict[str, Any]:
    """All of it as JSON values; times are microseconds a record."""
    first, last = ceiling.sizes[0], ceiling.sizes[-1]
    return {
        "sample": ceiling.plan.sample,
        "rounds": ceiling.plan.rounds,
        "sizes": [{**asdict(size), **_judged(size)} for size in ceiling.sizes],
        "match_cost_growth": {
            "from": first.records,
            "to": last.records,
            **asdict(_ratio(last.match_stream, first.match_stream)),
        },
        "environment": ceiling.environment,
    }


def tables(ceiling: Ceiling) -> list[Table]:
    """One of the parts, one of the efficiencies."""
    return [_parts(ceiling.sizes), _efficiencies(ceiling.sizes)]


def _judged(size: Size) -> dict[str, Any]:
    efficiency = {stage: _ratio(_ceiling(size, stage), _stream(size, stage)) for stage in STAGES}
    return {
        **{f"{stage}_ceiling": asdict(_ceiling(size, stage)) for stage in STAGES},
        "efficiency": {stage: asdict(found) for stage, found in efficiency.items()},
        "met": {stage: efficiency[stage].wall >= target for stage, target in TARGETS.items()},
    }


def _ceiling(size: Size, stage: str) -> Cost:
    """Of both stages at once: by the wall the slower one's, where each has a core of its own; on processors, both."""
    encode, match = total(size.encode_parts), total(size.match_parts)
    whole = Cost(max(encode.wall, match.wall), encode.processor + match.processor)
    return {"encode": encode, "match": match, "whole": whole}[stage]


def _stream(size: Size, stage: str) -> Cost:
    return {"encode": size.encode_stream, "match": size.match_stream, "whole": size.whole_stream}[stage]


def _ratio(a: Cost, b: Cost) -> Cost:
    return Cost(round(a.wall / b.wall, 3), round(a.processor / b.processor, 3))


def _parts(sizes: Sequence[Size]) -> Table:
    table = Table("µs a record: wall (processor)", *(f"{size.records:,} in the index" for size in sizes), box=None)
    for stage in ("encode", "match"):
        of: list[Mapping[str, Cost]] = [getattr(size, f"{stage}_parts") for size in sizes]
        for part in of[0]:
            table.add_row(f"{stage}: {part}", *(_shown(parts[part]) for parts in of))
        table.add_row(f"{stage}: the sum", *(_shown(total(parts)) for parts in of))
        table.add_row(f"{stage}: the stage in the stream", *(_shown(_stream(size, stage)) for size in sizes))
    for step in sizes[0].match_steps:
        table.add_row(f"match in the stream: step {step}", *(f"{size.match_steps[step]:.0f}" for size in sizes))
    return table


def _shown(cost: Cost) -> str:
    return f"{cost.wall:.0f} ({cost.processor:.0f})"


def _efficiencies(sizes: Sequence[Size]) -> Table:
    columns = ("stage", "ceiling/s", "stream/s", "efficiency", "of processor", "target", "")
    table = Table("in the index", *columns, box=None)
    for size in sizes:
        for stage in STAGES:
            ceiling, stream, target = _ceiling(size, stage), _stream(size, stage), TARGETS.get(stage)
            found = _ratio(ceiling, stream)
            table.add_row(
                f"{size.records:,}",
                stage,
                f"{1e6 / ceiling.wall:,.0f}",
                f"{1e6 / stream.wall:,.0f}",
                f"{found.wall:.2f}",
                f"{found.processor:.2f}",
                "" if target is None else f"{target:.2f}",
                "" if target is None else "met" if found.wall >= target else "not met",
            )
    first, last = sizes[0], sizes[-1]
    if last is not first:
        growth = _ratio(last.match_stream, first.match_stream)
        what = f"match, cost ÷ that at {first.records:,}"
        judged = "met" if growth.wall <= GROWTH else "not met"
        table.add_row(
            f"{last.records:,}", what, "", "", f"{growth.wall:.2f}", f"{growth.processor:.2f}", f"{GROWTH:g}", judged
        )
    return table
