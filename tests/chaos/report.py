"""A run in figures: what came how often, what became of it, and how long it took."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from tests.chaos.run import Fault


@dataclass(slots=True)
class Report:
    """Everything worth keeping of a run."""

    command: str
    seed: int
    delivery: str
    brokers: int
    minutes: float
    messages: int
    repeated_vectors: int
    events: int
    repeated_events: int
    clusters: int
    rebalances: int
    faults: Sequence[Fault]
    ends: Mapping[str, Sequence[str]]
    """By process: why it ended when nobody ended it."""
    checks: Mapping[str, Sequence[str]]
    """By promise: what is wrong; nothing where it holds."""
    machine: str = field(default_factory=lambda: f"{platform.machine()}, Python {platform.python_version()}")

    @property
    def passed(self) -> bool:
        return not any(self.checks.values()) and all(fault.over_after is not None for fault in self.faults)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed, "table": self.table()}

    def table(self) -> list[dict[str, Any]]:
        """One row per kind of fault. Seconds count from the beginning of a fault until all sent before its end was told."""
        kinds = list(dict.fromkeys(fault.kind for fault in sorted(self.faults, key=lambda f: f.kind.lower())))
        return [self._row(kind, [f for f in self.faults if f.kind == kind]) for kind in kinds]

    def _row(self, kind: str, faults: Sequence[Fault]) -> dict[str, Any]:
        # what the next fault came on top of was not over by itself
        alone = [f.over_after for f in faults if f.over_after is not None and not f.on_top and not f.together]
        after = [
            f.over_after - f.lasted for f in faults if f.over_after is not None and not f.on_top and not f.together
        ]
        return {
            "fault": kind,
            "times": len(faults),
            "together_with_another": sum(f.together for f in faults),
            "recovered": sum(f.over_after is not None for f in faults),
            "lasted_median": round(median(f.lasted for f in faults), 1),
            "through_median": round(median(alone), 1) if alone else None,
            "through_worst": round(max(alone), 1) if alone else None,
            "after_its_end_median": round(median(after), 1) if after else None,
        }

    def as_markdown(self) -> str:
        lines = [
            (
                f"`{self.command}`: {len(self.faults)} faults in {self.minutes:.0f} minutes on {self.brokers} broker(s), "
                f"delivery {self.delivery}. {self.messages:,} messages went in; {self.repeated_vectors:,} vectors came "
                f"twice or more; {self.events:,} events came out, {self.repeated_events:,} of them repeats; "
                f"{self.clusters:,} clusters at the end. A partition was assigned {self.rebalances:,} times."
            ),
            "",
            "| Fault | times | with another | recovered | lasted s | all told after s: median | worst | after its end |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
        ]
        lines += [
            f"| {row['fault']} | {row['times']} | {row['together_with_another']} | {row['recovered']} | "
            f"{row['lasted_median']} | {_shown(row['through_median'])} | {_shown(row['through_worst'])} | "
            f"{_shown(row['after_its_end_median'])} |"
            for row in self.table()
        ]
        lines += ["", "| Beside what happens when left alone | |", "|---|---|"]
        lines += [f"| {name} | {'; '.join(wrong) or 'holds'} |" for name, wrong in self.checks.items()]
        found = [f"- {name}: {reason}" for name, reasons in self.ends.items() for reason in reasons]
        lines += ["", "Processes that ended by themselves and were started again:", "", *(found or ["- none"])]
        return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "" if value is None else str(value)
