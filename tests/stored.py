"""What contract tests put into a ClusterStore."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from consumer.adapters.redis_clusters import RedisClusters
from consumer.ports import ClusterStore
from consumer.records import (
    Cluster,
    Evidence,
    Match,
    Member,
    OutboxEntry,
    Position,
    RecordState,
    Saying,
    ScopeUpdate,
    Verdict,
)
from tests.cluster_scenarios import PARTITION, SCOPE

KEY = bytes(range(16))
OpenRedis = Callable[..., RedisClusters]
"""URL, prefix and options → a store, which is closed in the end."""
OpenStore = Callable[..., ClusterStore]
NASTY = ["", "a:b", "{x}", "}{", "line\nbreak", "emoji 🦊", "nul\0", "é", "e\u0301", "edges:a:b", "0", "%7B", '"']
"""Names that keys, scripts and patterns might stumble over."""


def position(offset: int = 0) -> Position:
    return Position("records", 0, offset)


def record(offset: int = 0) -> RecordState:
    return RecordState(position(offset), 1_700_000_000_123 + offset, 0.1 + offset)


def edge(one: str, other: str, *, held: str | None = None, candidate: str | None = None) -> Evidence:
    a, b = sorted((one, other))
    match = Match(candidate or a, 1 / 3, held is not None, {"text": 0.123456789012345, "söund": -1.0}, {"text": 1e-300})
    return Evidence(a, b, match, held)


def cluster(cid: str, members: Iterable[str], version: int = 1) -> Cluster:
    found = {name: Member(1_000 + i, i / 7) for i, name in enumerate(members)}
    return Cluster(cid, version, 1_000, found, next(iter(found)))


def update(**changes: Any) -> ScopeUpdate:
    live = {cid: c for cid, c in changes.get("clusters", {}).items() if isinstance(c, Cluster)}
    nothing = ScopeUpdate(
        records={},
        assignments={r: cid for cid, c in live.items() for r in c.members},
        clusters={},
        members_put={cid: list(c.members) for cid, c in live.items()},
        members_dropped={},
        edges=(),
        edges_dropped=(),
        erased={},
        outbox=(),
    )
    return replace(nothing, **changes)


def event(value: bytes = b"value") -> OutboxEntry:
    return OutboxEntry("events", "key", value, 7)


def claimed(store: ClusterStore, scope: str = SCOPE) -> int:
    epoch = store.take_epoch(PARTITION)
    store.claim(scope, PARTITION, epoch)
    return epoch


def verdict(one: str, other: str, says: Saying = "different") -> Verdict:
    a, b = sorted((one, other))
    return Verdict(a, b, says, "Zoë", 1_700_000_000_123, SCOPE, position(7), 1_700_000_000_456)


def redo(store: ClusterStore, count: int, scope: str = SCOPE) -> tuple[list[str], int]:
    """The beginning of the queue, and how many are on it."""
    found = store.read(scope, [], redo=count)
    return found.redo, found.waiting
