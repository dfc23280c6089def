"""What a deployment chose about matching."""

from dataclasses import dataclass

from consumer.decisions import Policy
from consumer.outbox import MatchTopics


@dataclass(frozen=True, slots=True)
class MatchSettings:
    """What a matcher needs to know."""

    profile: str
    vectors_topic: str
    fingerprint: str
    """Of profile and models: only vectors that carry it are compared."""
    mint_key: bytes
    topics: MatchTopics
    neighbours: int
    """k: candidates scored per record."""
    policy: Policy
    snapshot_records: int
    """Messages between two snapshots of a partition."""
    erased_snapshot_ms: int = 3_600_000
    """A snapshot that may hold an erased record is replaced after so long."""
    deny_erased: bool = False
    """Records that were erased are not taken in when they come again."""
