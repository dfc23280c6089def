"""What the scopes of a matcher owe to the topics: the changes in their outboxes that were not told yet.

Told is every entry below the group's committed offset, for offsets and events are committed together. Due is every
entry that comes from before the next offset to be decided: up to there all scopes of a partition are equally far, so
one number says what was told.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from consumer.events import EventRenderer
from consumer.names import scope_partition
from consumer.owned import OwnedPartition, OwnedScope
from consumer.ports import ClusterStore, lost_writes
from consumer.records import OutboxEntry, Outgoing
from consumer.vectors import word_message


@dataclass(frozen=True, slots=True)
class MatchTopics:
    """Where the outcome goes. All that is told of a scope is in one partition of each topic.

    So a transaction ends in few of them, a subscriber reads a scope in the order in which it was decided, and waits for no
    transaction of another matcher.
    """

    events: str
    clusters: str
    possible: str
    partitions: Mapping[str, int] = field(default_factory=dict)
    """How many each topic has; 1 where nothing is said."""

    def message(self, topic: str, scope: str, key: str, value: bytes | None) -> Outgoing:
        """What is told of a scope."""
        return Outgoing(topic, key.encode(), value, {}, scope_partition(scope, self.partitions.get(topic, 1)))


@dataclass(frozen=True, slots=True)
class Outbox:
    """Reads outboxes. `config` is the digest of what decides, for the state of clusters."""

    store: ClusterStore
    profile: str
    config: str
    topics: MatchTopics
    vectors_topic: str

    def collect(self, partitions: Iterable[OwnedPartition]) -> list[Outgoing]:
        """What is due, and the present state of the clusters it tells of; marks the scopes that owe it.

        Asked when all that it gave before was delivered, or is not known to be.

        Raises LostWritesError when the store has forgotten what was applied: it may have forgotten entries, too, and what
        is handed over as done would never be told.
        """
        outgoing: list[Outgoing] = []
        owed: list[tuple[OwnedScope, int, bool]] = []
        for owned in partitions:
            for scope in owned.scopes.values():
                if not scope.dirty:
                    continue
                entries = self.store.outbox(scope.name)
                due = [(sequence, entry) for sequence, entry in entries if entry.offset < owned.next_offset]
                if due:
                    outgoing += self._messages(owned, scope, [e for _, e in due if e.offset >= owned.told])
                    owed.append((scope, due[-1][0], len(due) < len(entries)))
                # last, so that it vouches for all that was read before
                if (applied := self.store.applied(scope.name, owned.number)) < scope.applied:
                    raise lost_writes(scope.name, applied, scope.applied)
                if not entries:
                    scope.dirty = False
        # only now: where the store failed on the way, this is called again and must find all of it
        for scope, sequence, more in owed:
            scope.owed, scope.dirty = sequence, more
        return outgoing

    def _messages(self, owned: OwnedPartition, scope: OwnedScope, entries: list[OutboxEntry]) -> list[Outgoing]:
        names = {"events": self.topics.events, "possible": self.topics.possible}
        told = [
            word_message(entry, self.vectors_topic, owned.number)
            if entry.stream == "words"
            else self.topics.message(names[entry.stream], scope.name, entry.key, entry.value)
            for entry in entries
        ]
        changed = sorted({entry.key for entry in entries if entry.stream == "events"})
        renderer = EventRenderer(self.profile, scope.name, self.config)
        now = self.store.clusters(scope.name, changed)
        clusters = self.topics.clusters
        states = [self.topics.message(clusters, scope.name, cid, renderer.state(cid, c)) for cid, c in now.items()]
        return [*told, *states]
