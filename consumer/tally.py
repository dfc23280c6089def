"""What was decided, and how far the owned partitions are, as metrics.

A batch is counted when the store has it: a try that failed is made again, and would count twice.
"""

from collections import Counter
from collections.abc import Collection, Sequence

from consumer.clusters import Change
from consumer.metrics import METRICS
from consumer.owned import OwnedPartition
from consumer.records import ClusterChange, Erasure, Match, Vector
from consumer.rows import Row


def count_decided(rows: Sequence[Row], matches: Sequence[Sequence[Match]], changes: Sequence[Change]) -> None:
    """Rows of a scope with the matches of each, and the changes that they led to."""
    METRICS.erased.inc(sum(isinstance(row.item, Erasure) for row in rows))
    compared = [found for row, found in zip(rows, matches, strict=True) if isinstance(row.item, Vector)]
    for outcome, count in Counter(map(_outcome, compared)).items():
        METRICS.decided.labels(outcome).inc(count)
    for found in compared:
        METRICS.best_probability.observe(max((match.probability for match in found), default=0.0))
    for kind, count in Counter(change.kind for change in changes).items():
        METRICS.changes.labels(kind).inc(count)
    for change in changes:
        if isinstance(change, ClusterChange) and change.members and (change.added or change.removed):
            METRICS.cluster_records.observe(len(change.members))


def _outcome(matches: Sequence[Match]) -> str:
    if any(match.duplicate for match in matches):
        return "duplicate"
    return "possible" if matches else "different"


def count_owned(partitions: Collection[OwnedPartition]) -> None:
    """Where the partitions of a matcher are, and what they hold."""
    scopes = [scope for owned in partitions for scope in owned.scopes.values()]
    METRICS.partitions.labels("match").set(len(partitions))
    METRICS.prior_shift.set(max((scope.beliefs.shift for scope in scopes), key=abs, default=0.0))
    METRICS.redo_depth.set(sum(scope.waiting for scope in scopes))
    METRICS.index_records.set(sum(len(scope.index) for scope in scopes))
    for owned in partitions:
        METRICS.partition_offset.labels(str(owned.number)).set(owned.next_offset)


def count_released(partition: int, *, lost: bool) -> None:
    """A partition is no longer ours."""
    METRICS.partition_offset.remove(str(partition))
    METRICS.snapshot_offset.remove(str(partition))
    if lost:
        METRICS.lost_partitions.inc()
