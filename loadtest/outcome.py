"""What a load test found out, as it is written to `report.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consumer.evaluation import Scores
from loadtest.latency import Latency
from loadtest.scrape import StepCost


@dataclass(frozen=True, slots=True)
class Series:
    """A step over time, second by second from its start; the drain behind it included."""

    intended: Sequence[float]
    """Messages a second that were meant to leave."""
    achieved: Sequence[float]
    """Messages a second that were decided."""
    lag: Sequence[float]
    """Messages that waited."""
    p50_ms: Sequence[float | None]
    """Of the events caused by messages of that second; None where there were none."""
    p99_ms: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Step:
    """One rate, or one shape of rates, measured behind its warm-up."""

    seconds: float
    sent: int
    intended_rate: float
    achieved_rate: float
    """What was sent, less what was added to the lag."""
    events: Latency
    """From the intended moment until a `read_committed` subscriber has the event."""
    vectors: Latency
    """… until the vector of a record can be read, for every record."""
    generator_late_p99_ms: float
    drained_seconds: float | None
    """From the last intended moment until nothing waited; None where that did not come in time."""
    saturated: str
    """Why the rate was too much; empty where it was not."""
    faults: Sequence[str]
    """Why the figures are not to be trusted; empty where they are."""
    series: Series


def highest(steps: Sequence[Step]) -> Step | None:
    """The one of the highest rate that was not too much."""
    return max((s for s in steps if not s.saturated), key=lambda s: s.intended_rate, default=None)


@dataclass(frozen=True, slots=True)
class Quality:
    """F1 under load: the clusters that the events tell of beside those that were planted."""

    records: int
    clusters: int
    pairwise: Scores
    at_rest: Scores | None = None
    """Of the same messages, decided without load; None where that was not asked for."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What the service's resident memory did, by its own account, over all addresses that were given."""

    seconds: Sequence[float]
    resident_mib: Sequence[float]
    index_records: Sequence[float]
    growth_mib_per_hour: float
    """Slope of a line through the second half."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run."""

    workload: Mapping[str, Any]
    seed: int
    run: str
    """What the record ids begin with."""
    profile: str
    environment: Mapping[str, Any]
    settings: Mapping[str, Any]
    steps: Sequence[Step]
    sent: Mapping[str, int]
    """Messages by kind, those of `fill` included."""
    events: int
    repeats: int
    version_gaps: int
    dead_letters: int
    quality: Quality | None
    """None where the service did not catch up, or nothing was planted."""
    operating: Step | None = None
    """At the operating share of the highest rate of a sweep that was kept up; None where there is none."""
    costs: Sequence[StepCost] = ()
    memory: Memory | None = None
    faults: Sequence[str] = field(default_factory=list)
    """Everything that was wrong; empty for a run that counts."""

    @property
    def knee(self) -> Step | None:
        """The highest rate that was not too much."""
        return highest(self.steps)

    def summary(self) -> dict[str, Any]:
        """The last line of standard output."""
        shown = self.knee or self.steps[-1]
        return {
            "workload": self.workload["name"],
            "valid": not self.faults,
            "faults": list(self.faults),
            "rate": shown.intended_rate,
            "achieved_rate": shown.achieved_rate,
            "event_p50_ms": shown.events.p50_ms,
            "event_p99_ms": shown.events.p99_ms,
            "vector_p99_ms": shown.vectors.p99_ms,
            "saturated_at": next((s.intended_rate for s in self.steps if s.saturated), None),
            "operating_rate": None if self.operating is None else self.operating.intended_rate,
            "operating_event_p99_ms": None if self.operating is None else self.operating.events.p99_ms,
            "f1": None if self.quality is None else self.quality.pairwise.f1,
            "f1_at_rest": None if self.quality is None or self.quality.at_rest is None else self.quality.at_rest.f1,
            "version_gaps": self.version_gaps,
            "repeats": self.repeats,
        }
