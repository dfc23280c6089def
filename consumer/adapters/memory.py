"""Source and publisher without a broker, in this process: for `dedup batch` and for tests. Held to the same contract.

broker = MemoryBroker({"signups": 4})
MemoryPublisher(broker).publish([...])
MemorySource(broker, "encode", ["signups"]).poll(512, 1.0)
"""

import time
import zlib
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from threading import Condition
from typing import Final

from consumer.errors import BrokerError
from consumer.records import Message, Outgoing, Position

Partition = tuple[str, int]
OnAssigned = Callable[[Sequence[Partition]], Mapping[Partition, int]]
OnRevoked = Callable[[Sequence[Partition], bool], None]

_MAX_BYTES: Final = 16 * 1024 * 1024


class _Log:
    """One partition. Offsets go on counting when the front is dropped."""

    def __init__(self) -> None:
        self.first = 0
        self.messages: deque[Message] = deque()

    @property
    def end(self) -> int:
        return self.first + len(self.messages)

    def read(self, offset: int, limit: int) -> list[Message]:
        start = max(0, offset - self.first)
        return list(islice(self.messages, start, start + limit))

    def drop_before(self, offset: int) -> None:
        while self.first < min(offset, self.end):
            self.messages.popleft()
            self.first += 1


class _Group:
    """Committed offsets, the members in order of joining, and who holds which partition."""

    def __init__(self) -> None:
        self.committed: dict[Partition, int] = {}
        self.members: list[MemorySource] = []
        self.owners: dict[Partition, MemorySource] = {}
        self.topics: set[str] = set()


class MemoryBroker:
    """Topics, their partitions and groups, in memory; safe to share between threads.

    With `retain` false a message is dropped as soon as every group that ever subscribed to its topic committed it, so
    what is held stays bounded by what is in flight. Topics that no group reads are emptied by `drain`.
    """

    def __init__(self, topics: Mapping[str, int] | None = None, *, retain: bool = True) -> None:
        self._retain = retain
        self._logs: dict[str, list[_Log]] = {}
        self._groups: dict[str, _Group] = {}
        self.changed = Condition()
        for name, partitions in (topics or {}).items():
            self.create(name, partitions)

    def create(self, topic: str, partitions: int) -> None:
        """Create `topic`. Raises BrokerError when it exists with another number of partitions."""
        with self.changed:
            there = self._logs.setdefault(topic, [_Log() for _ in range(partitions)])
            if len(there) != partitions:
                raise BrokerError(f"topic {topic} exists with {len(there)} partitions, not {partitions}")

    def partitions(self, topic: str) -> int:
        """Number of partitions. Raises BrokerError when the topic does not exist."""
        return len(self._partition_logs(topic))

    def messages(self, topic: str) -> list[Message]:
        """What `topic` holds now, partition by partition."""
        with self.changed:
            return [message for log in self._partition_logs(topic) for message in log.messages]

    def drain(self, topic: str) -> list[Message]:
        """Like `messages`, and drops them: for a topic that no group reads."""
        with self.changed:
            drained = self.messages(topic)
            for log in self._partition_logs(topic):
                log.drop_before(log.end)
            return drained

    def append(self, message: Outgoing) -> None:
        """Add one message. Raises BrokerError: no such topic or partition, or larger than 16 MiB."""
        with self.changed:
            logs = self._partition_logs(message.topic)
            number = message.partition
            if number is None:
                number = zlib.crc32(message.key or b"") % len(logs)
            if not 0 <= number < len(logs):
                raise BrokerError(f"topic {message.topic} has {len(logs)} partitions, there is no {number}")
            if len(message.value or b"") > _MAX_BYTES:
                raise BrokerError(f"topic {message.topic}: the message is larger than {_MAX_BYTES} bytes")
            stamp = time.time_ns() // 1_000_000 if message.timestamp_ms is None else message.timestamp_ms
            position = Position(message.topic, number, logs[number].end)
            logs[number].messages.append(Message(position, message.key, message.value, stamp, dict(message.headers)))
            self.changed.notify_all()

    def log(self, partition: Partition) -> _Log:
        """The messages of one partition; for sources."""
        return self._partition_logs(partition[0])[partition[1]]

    def group(self, name: str) -> _Group:
        """The group of that name, made when first asked for; for sources."""
        return self._groups.setdefault(name, _Group())

    def forget(self, partition: Partition) -> None:
        """Drop what every group that reads the partition committed, unless `retain`; for sources."""
        if self._retain:
            return
        readers = [g for g in self._groups.values() if partition[0] in g.topics]
        self.log(partition).drop_before(min((g.committed.get(partition, 0) for g in readers), default=0))

    def _partition_logs(self, topic: str) -> list[_Log]:
        if topic not in self._logs:
            raise BrokerError(f"topic {topic}: the topic does not exist; create it first")
        return self._logs[topic]


class MemoryPublisher:
    """Publisher whose messages are there as soon as `publish` returns."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def publish(self, messages: Sequence[Outgoing]) -> None:
        for message in messages:
            self._broker.append(message)

    def flush(self) -> None: ...

    def partitions(self, topic: str) -> int:
        return self._broker.partitions(topic)

    def close(self) -> None: ...


class MemorySource:
    """Source over a MemoryBroker; callbacks as in KafkaSource, and partitions move when members come and go.

    Raises BrokerError when a topic does not exist.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        group: str,
        topics: Sequence[str],
        on_assigned: OnAssigned | None = None,
        on_revoked: OnRevoked | None = None,
    ) -> None:
        self._broker = broker
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._next: dict[Partition, int] = {}
        self._gone: set[Partition] = set()
        self._all = [(topic, number) for topic in topics for number in range(broker.partitions(topic))]
        with broker.changed:
            self._group = broker.group(group)
            self._group.topics.update(topics)
            self._group.members.append(self)
            broker.changed.notify_all()

    def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Message]:
        """Wait for a first message, then take what is there. Raises what the callbacks raise."""
        deadline = time.monotonic() + timeout_seconds
        with self._broker.changed:
            while True:
                self._rebalance()
                taken = self._take(max_records)
                remaining = deadline - time.monotonic()
                if taken or remaining <= 0:
                    return taken
                self._broker.changed.wait(remaining)

    def commit(self, positions: Sequence[Position]) -> None:
        """Record positions as done; those of partitions not held are left out."""
        with self._broker.changed:
            for position in positions:
                partition = (position.topic, position.partition)
                if partition in self._next:
                    committed = self._group.committed
                    committed[partition] = max(committed.get(partition, 0), position.offset + 1)
                    self._broker.forget(partition)

    def lag(self) -> Mapping[Partition, int]:
        """Messages not yet delivered, per assigned partition."""
        with self._broker.changed:
            return {p: self._broker.log(p).end - offset for p, offset in sorted(self._next.items())}

    def high_watermark(self, topic: str, partition: int) -> int:
        """Offset after the last message. Raises BrokerError when the topic does not exist."""
        return self._broker.log((topic, partition)).end

    def position(self, topic: str, partition: int) -> int | None:
        """Next offset to be delivered, None when the partition is not assigned."""
        return self._next.get((topic, partition))

    def committed(self, topic: str, partition: int) -> int:
        """Offset after the last that the group has committed, 0 for none."""
        return self._group.committed.get((topic, partition), 0)

    def keep_alive(self) -> None:
        """Heed the group for a moment. Raises what the callbacks raise."""
        with self._broker.changed:
            self._rebalance()

    def gone(self) -> Collection[Partition]:
        """The partitions that went since this was last asked."""
        gone = set(self._gone)
        self._gone.clear()
        return gone

    @property
    def trouble(self) -> str:
        """Never any."""
        return ""

    def close(self) -> None:
        """Leave the group; `on_revoked` is called for what was held. May be called twice."""
        with self._broker.changed:
            if self in self._group.members:
                self._group.members.remove(self)
                try:
                    self._let_go(sorted(self._next))
                finally:
                    self._broker.changed.notify_all()

    def _take(self, max_records: int) -> list[Message]:
        taken: list[Message] = []
        for partition, offset in self._next.items():
            part = self._broker.log(partition).read(offset, max_records - len(taken))
            if part:
                self._next[partition] = part[-1].position.offset + 1
                taken += part
        # The partition served last goes to the back, so that a full one cannot starve the others.
        if taken:
            first = taken[0].position
            self._next[first.topic, first.partition] = self._next.pop((first.topic, first.partition))
        return taken

    def _rebalance(self) -> None:
        members = self._group.members
        if self not in members:
            raise BrokerError("this source is closed")
        mine = set(self._all[members.index(self) :: len(members)])
        self._let_go([p for p in self._next if p not in mine])
        came = [p for p in self._all if p in mine and p not in self._next and p not in self._group.owners]
        if not came:
            return
        starts = self._on_assigned(came) if self._on_assigned is not None else {}
        for partition in came:
            self._group.owners[partition] = self
            start = starts.get(partition, self._group.committed.get(partition, 0))
            self._next[partition] = max(start, self._broker.log(partition).first)

    def _let_go(self, partitions: Sequence[Partition]) -> None:
        if not partitions:
            return
        try:
            if self._on_revoked is not None:
                self._on_revoked(partitions, False)
        finally:
            for partition in partitions:
                del self._next[partition]
                self._gone.add(partition)
                del self._group.owners[partition]
            self._broker.changed.notify_all()
