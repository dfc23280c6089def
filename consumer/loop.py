"""The one loop: poll, process, deliver, tell the stage. Backpressure is taking nothing until a batch is through.

Behind a full batch another one waits: it is processed while the first is on its way to the broker, and then waits for it.
So no more than two are in hand, and the broker has them one after the other.

While a service is away the batch in hand is tried again and again; its partitions stay ours, for the source keeps the
group's heartbeat without taking more. What goes to another member meanwhile is dropped: it comes again, there.
"""

import random
import threading
import time
from collections.abc import Callable, Collection, Sequence
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
    ingested_ms: Sequence[int] = ()
    """When the messages came in that it is the outcome of: those of which nothing was delivered before."""
    alone: bool = False
    """Nothing may be processed until it is delivered."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to deliver."""
        return not (self.outgoing or self.rejected or self.done)


class Stage(Protocol):
    """A step of the stream: messages in, messages out."""

    @property
    def name(self) -> str: ...

    def room(self, limit: int) -> int:
        """How many messages are best taken next, from 1 to `limit`."""

    def process(self, messages: Sequence[Message]) -> None:
        """Handle a batch, perhaps empty. Repeating it with the same messages changes nothing.

        The result of the batch before may be on its way meanwhile. Raises TransientError when a service is away (the loop
        repeats the call) and FencedError when another process owns the work (the loop ends).
        """

    def result(self) -> Result:
        """What has to be delivered after the last `process`. Asked when nothing is on its way. Raises as `process` does."""

    def confirm(self) -> None:
        """Asked when all is sent and nothing final, perhaps beside `process`. Raises FencedError when another owns the work."""

    def delivered(self) -> None:
        """The last result is with the broker, and its input is committed."""

    def undelivered(self) -> None:
        """What became of the last result is not known; `process` gets its messages again, and others behind them."""

    def ready(self) -> bool:
        """True once the stage does its work rather than catching up."""


def result_of(stage: Stage, messages: Sequence[Message]) -> Result:
    """What a stage makes of a batch, where no loop runs it."""
    stage.process(messages)
    return stage.result()


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


@dataclass(slots=True)
class _Sent:
    """A result on its way to the broker, and the messages that it is of."""

    messages: list[Message]
    result: Result
    started: float


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
        self._batch: list[Message] = []
        """Taken, and of nothing that is on its way."""
        self._sent: _Sent | None = None
        self._room = limits.batch_records
        """As many messages as make a full batch."""
        self._streak = 0
        self.pulse = Pulse()
        for metric in (METRICS.ready, METRICS.waiting, METRICS.reject_streak, METRICS.records, METRICS.rejected):
            metric.labels(stage.name)  # at 0, so that what never works is seen as that

    def run(self) -> None:
        """Go on until stopped; what is in hand is finished unless a service is away. Raises what others raise."""
        while not self._stop.is_set():
            self.advance()
        self.settle()

    def turn(self) -> int:
        """One batch, to its end; returns how many messages were taken."""
        taken = self.advance()
        self._patiently(self._finish)
        return taken

    def advance(self) -> int:
        """One batch; returns how many messages were taken. Of a full one the outcome may still be on its way."""
        with METRICS.step_seconds.labels(self._stage.name, "poll").time():
            # a partition that is assigned claims its scopes in the store
            polled = self._patiently(self._poll)
        if polled is None or self._patiently(self._attempt) is None:
            return 0  # told to stop while a service was away; what was not committed comes again
        return polled

    def settle(self) -> None:
        """Wait for what is on its way. Sources that move partitions call it before: a delivery is of what we own.

        What could not be delivered is in hand again then, and is tried again by the next turn.
        """
        try:
            self._settle()
        except TransientError as error:
            _log.warning("not_delivered", stage=self._stage.name, reason=str(error))

    def _poll(self) -> int:
        self._room = self._stage.room(self._limits.batch_records)
        polled = self._source.poll(self._room, 0.0 if self._sent else self._limits.poll_seconds)
        self._let_go(self._source.gone())
        self._batch += polled
        return len(polled)

    def _let_go(self, partitions: Collection[tuple[str, int]]) -> None:
        """Drop what is in hand of partitions that went: it comes again, to whoever has them now."""
        if not partitions:
            return
        for held in (self._batch, self._sent.messages if self._sent else []):
            held[:] = [m for m in held if (m.position.topic, m.position.partition) not in partitions]

    def _attempt(self) -> bool:
        step, name = METRICS.step_seconds.labels, self._stage.name
        full = len(self._batch) >= self._room
        started = time.perf_counter()
        with step(name, "process").time():
            self._stage.process(self._batch)
        self._settle()
        with step(name, "collect").time():
            result = self._stage.result()
            self._sent, self._batch = _Sent(self._batch, result, started), []
            if not result.is_empty:
                outgoing = [*result.outgoing, *map(dead_letter, result.rejected)]
                self._or_take_back(lambda: self._delivery.send(outgoing, result.done, self._stage.confirm))
        if not full or result.alone or self.pulse.waiting:
            self._settle()
        return True

    def _finish(self) -> bool:
        if self._batch:  # it could not be delivered
            self._attempt()
        self._settle()
        return True

    def _settle(self) -> None:
        """Wait for what is on its way, and tell the stage."""
        sent = self._sent
        if sent is None:
            return
        if not sent.result.is_empty:
            with METRICS.step_seconds.labels(self._stage.name, "deliver").time():
                self._or_take_back(self._delivery.wait)
        now_ms = time.time_ns() // 1_000_000
        self._stage.delivered()  # while the store is away, the next call comes here again
        self._sent = None
        latency = METRICS.latency_seconds.labels(self._stage.name)
        for ingested_ms in sent.result.ingested_ms:
            latency.observe(max(0, now_ms - ingested_ms) / 1000)
        self._account(sent.messages, sent.result, time.perf_counter() - sent.started)

    def _or_take_back(self, call: Callable[[], None]) -> None:
        """Make a call of the delivery. Where it fails, the messages of what was sent are in hand again."""
        try:
            call()
        except BaseException:
            if self._sent is not None:
                self._batch[:0] = self._sent.messages
                self._sent = None
            self._stage.undelivered()
            raise

    def _patiently(self, call: Callable[[], _T]) -> _T | None:
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
                self._source.keep_alive()
                self._let_go(self._source.gone())
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
