"""Exactly-once delivery over a broker in memory: a batch is there whole, with the position of its input, or not at all."""

from collections.abc import Callable, Sequence

from consumer.adapters.memory import MemoryBroker, MemorySource
from consumer.records import Outgoing, Position


class MemoryTransactions:
    """Implements `consumer.ports.Delivery` for the batches of one source."""

    def __init__(self, broker: MemoryBroker, source: MemorySource) -> None:
        self._broker = broker
        self._source = source

    def send(
        self, messages: Sequence[Outgoing], done: Sequence[Position], confirm: Callable[[], None] = lambda: None
    ) -> None:
        with self._broker.changed:
            confirm()
            for message in messages:
                self._broker.append(message)
            self._source.commit(done)

    def wait(self) -> None:
        """It was whole when `send` returned."""
