"""Deliveries for tests: one that begins as late as it may, and one that is waited for."""

from collections.abc import Callable, Sequence

from consumer.ports import Delivery
from consumer.records import Outgoing, Position


class AtLast:
    """A delivery that begins when it is waited for: after all that is done beside it."""

    def __init__(self, inner: Delivery) -> None:
        self._inner = inner
        self._sent: Callable[[], None] | None = None

    def send(
        self, messages: Sequence[Outgoing], done: Sequence[Position], confirm: Callable[[], None] = lambda: None
    ) -> None:
        assert self._sent is None, "two at once"
        self._sent = lambda: self._inner.send(messages, done, confirm)

    def wait(self) -> None:
        if self._sent is not None:
            sent, self._sent = self._sent, None
            sent()
        self._inner.wait()


def deliver(
    delivery: Delivery,
    messages: Sequence[Outgoing],
    done: Sequence[Position],
    confirm: Callable[[], None] = lambda: None,
) -> None:
    """Send, and wait until it is there."""
    delivery.send(messages, done, confirm)
    delivery.wait()
