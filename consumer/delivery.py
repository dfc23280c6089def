"""At-least-once delivery: publish, wait for the broker, commit. A crash before the group has that sends it again, byte for byte."""

from collections.abc import Callable, Sequence

from consumer.ports import Publisher, Source
from consumer.records import Outgoing, Position


class AtLeastOnce:
    """Implements `consumer.ports.Delivery` over a source and a publisher, which sends by itself what it has queued."""

    def __init__(self, source: Source, publisher: Publisher) -> None:
        self._source = source
        self._publisher = publisher
        self._sent: Sequence[Position] | None = None

    def send(
        self, messages: Sequence[Outgoing], done: Sequence[Position], confirm: Callable[[], None] = lambda: None
    ) -> None:
        confirm()
        self._publisher.publish(messages)
        self._sent = done

    def wait(self) -> None:
        if self._sent is None:
            return
        done, self._sent = self._sent, None
        self._publisher.flush()
        if done:
            self._source.commit(done)

    def close(self) -> None:
        """Deliver what is queued. Raises BrokerError."""
        self._publisher.close()
