"""Tail over a MemoryBroker, for tests. Held to the same contract."""

import time
from collections.abc import Mapping, Sequence

from consumer.adapters.memory import MemoryBroker
from consumer.records import Message


class MemoryTail:
    """Raises BrokerError when the topic does not exist."""

    def __init__(self, broker: MemoryBroker, topic: str, group: str) -> None:
        self._broker = broker
        self._topic = topic
        self._group = group
        self._next: dict[int, int] = {}

    def partitions(self) -> Sequence[int]:
        return range(self._broker.partitions(self._topic))

    def read(self, starts: Mapping[int, int], max_records: int, timeout_seconds: float) -> Sequence[Message]:
        self._next.update(starts)
        deadline = time.monotonic() + timeout_seconds
        with self._broker.changed:
            while True:
                taken: list[Message] = []
                for number in starts:
                    part = self._broker.log((self._topic, number)).read(self._next[number], max_records - len(taken))
                    taken += part
                    if part:
                        self._next[number] = part[-1].position.offset + 1
                remaining = deadline - time.monotonic()
                if taken or remaining <= 0:
                    return taken
                self._broker.changed.wait(remaining)

    def behind(self, partition: int) -> int:
        if partition not in self._next:
            return 1
        return self._broker.log((self._topic, partition)).end - self._next[partition]

    def committed(self) -> Mapping[int, int]:
        with self._broker.changed:
            committed = self._broker.group(self._group).committed
            return {number: offset for (topic, number), offset in committed.items() if topic == self._topic}
