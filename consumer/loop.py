"""The one loop: poll, process, deliver, tell the stage. Backpressure is taking nothing until a batch is through.

While a service is away the batch in hand is tried again and again; its partitions stay ours, for the source keeps the
group's heartbeat without taking more. What goes to another member meanwhile is dropped: it comes again, there.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import structlog

from consumer.errors import TooManyRejectsError, TransientError
from consumer.letters.dead_letters import dead_letter
from consumer.metrics import METRICS
from consumer.names import dead_letter_topic
from consumer.ports import Delivery, Source
from consumer.records import Message, Outgoing, Position, Rejected

_T = TypeVar("_T")
_log = structlog.get_logger()
_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a stage made of a batch."""

    outgoing: Sequence[Outgoing]
    rejected: Sequence[Rejected] = ()
    done: Sequence[Position] = ()
    """Everything up to these, per partition, is done once the rest of this is with the broker."""


class Stage(Protocol):
    """A step of the stream: messages in, messages out."""

    @property
    def name(self) -> str: ...

    def room(self, limit: int) -> int:
        """How many messages are best taken next, from 1 to `limit`."""

    def process(self, messages: Sequence[Message]) -> Result:
        """Handle a batch, perhaps empty. Repeating it with the same messages changes nothing.

        Raises TransientError when a service is away (the loop repeats the call) and FencedError when another process
        owns the work (the loop ends).
        """

    def confirm(self) -> None:
        """Asked when all is sent and nothing final. Raises FencedError when another process owns the work."""

    def delivered(self) -> None:
        """Everything the last `process` returned is with the broker, and its input is committed.

        When `process` is called again without this, what became of its result is not known.
        """

    def ready(self) -> bool:
        """True once the stage does its work rather than catching up."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a loop takes at once, and how much it puts up with."""

    batch_records: int
    poll_seconds: float
    consecutive_rejects: int


@dataclass(slots=True)
class Pulse:
    """What the health endpoint knows of a loop."""

    beat: float = field(default_factory=time.monotonic)
    """Monotonic time of the last turn."""
    ready: bool = False
    waiting: str = ""
    """Why the loop waits for a service; empty when it does not."""

    def waits(self, stage: str, reason: str) -> None:
        """Tell that, or with no reason that no longer, something is away; in the log only when that is news."""
        if reason and not self.waiting:
            _log.warning("waiting", stage=stage, reason=reason)
        elif self.waiting and not reason:
            _log.info("resumed", stage=stage)
        self.waiting = reason
        METRICS.waiting.labels(stage).set(bool(reason))
        self.beat = time.monotonic()


class Loop:
    """Runs one stage over one source until told to stop."""

    def __init__(
        self,
        source: Source,
        stage: Stage,
        delivery: Delivery,
        limits: Limits,
        stop: threading.Event | None = None,
    ) -> None:
        self._source = source
        self._stage = stage
        self._delivery = delivery
        self._limits = limits
        self._stop = stop or threading.Event()
        self._streak = 0
        self.pulse = Pulse()
        for metric in (METRICS.ready, METRICS.waiting, METRICS.reject_streak, METRICS.records, METRICS.rejected):
            metric.labels(stage.name)  # at 0, so that what never works is seen as that

    def run(self) -> None:
        """Turn until stopped; the batch in hand is finished unless a service is away. Raises what others raise."""
        while not self._stop.is_set():
            self.turn()

    def turn(self) -> int:
        """One batch; returns how many messages it had."""
        name = self._stage.name
        batch: list[Message] = []
        with METRICS.step_seconds.labels(name, "poll").time():
            # a partition that is assigned claims its scopes in the store
            polled = self._patiently(batch, self._poll)
        if polled is None:
            return 0
        batch.extend(polled)
        started = time.perf_counter()
        result = self._patiently(batch, lambda: self._attempt(batch))
        if result is None:
            return 0  # told to stop while a service was away; the batch was not committed and comes again
        self._patiently(batch, self._stage.delivered)
        self._account(batch, result, time.perf_counter() - started)
        return len(batch)

    def _poll(self) -> Sequence[Message]:
        return self._source.poll(self._stage.room(self._limits.batch_records), self._limits.poll_seconds)

    def _attempt(self, batch: Sequence[Message]) -> Result:
        name = self._stage.name
        with METRICS.step_seconds.labels(name, "process").time():
            result = self._stage.process(batch)
        letters = [dead_letter(rejected) for rejected in result.rejected]
        if result.outgoing or letters or result.done:
            with METRICS.step_seconds.labels(name, "deliver").time():
                self._delivery.deliver([*result.outgoing, *letters], result.done, self._stage.confirm)
        return result

    def _patiently(self, batch: list[Message], call: Callable[[], _T]) -> _T | None:
        """Repeat the call while a service is away, saying so; None when told to stop meanwhile.

        What the group takes from us in that time goes from the batch too.
        """
        wait = _FIRST_WAIT_SECONDS
        while True:
            try:
                value = call()
            except TransientError as error:
                self.pulse.waits(self._stage.name, str(error))
                if self._stop.wait(wait * random.uniform(0.5, 1)):  # noqa: S311  # jitter, not a secret
                    return None
                wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
                gone = self._source.keep_alive()
                batch[:] = [m for m in batch if (m.position.topic, m.position.partition) not in gone]
                continue
            trouble = self._source.trouble
            if trouble or self.pulse.waiting:
                self.pulse.waits(self._stage.name, trouble)
            return value

    def _account(self, messages: Sequence[Message], result: Result, seconds: float) -> None:
        name, rejected = self._stage.name, len(result.rejected)
        self.pulse.beat = time.monotonic()
        self.pulse.ready = self._stage.ready()
        METRICS.ready.labels(name).set(self.pulse.ready)
        METRICS.lag.labels(name).set(sum(self._source.lag().values()))
        if not messages:
            return
        METRICS.batch_records.labels(name).observe(len(messages))
        METRICS.records.labels(name).inc(len(messages))
        METRICS.rejected.labels(name).inc(rejected)
        _log.info(
            "batch",
            stage=name,
            records=len(messages),
            out=len(result.outgoing),
            rejected=rejected,
            seconds=round(seconds, 4),
        )
        self._streak = self._streak + rejected if rejected == len(messages) else 0
        METRICS.reject_streak.labels(name).set(self._streak / self._limits.consecutive_rejects)
        if self._streak > self._limits.consecutive_rejects:
            raise TooManyRejectsError(
                f"{name}: {self._streak} messages in a row were rejected, the last because: "
                f"{result.rejected[-1].reason}. They are in {dead_letter_topic(result.rejected[-1].message.position.topic)}. "
                "Mend the producer, or raise limits.consecutive_rejects."
            )


def last_positions(messages: Sequence[Message]) -> list[Position]:
    """The last position of each partition in a batch."""
    last = {(m.position.topic, m.position.partition): m.position for m in messages}
    return list(last.values())
