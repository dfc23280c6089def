"""The one loop: poll, process, publish, flush, commit, tell the stage. Backpressure is not calling `poll`."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import structlog

from consumer.errors import StoreError, TooManyRejectsError, TransientError
from consumer.metrics import METRICS
from consumer.ports import Publisher, Source
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


class Stage(Protocol):
    """A step of the stream: messages in, messages out."""

    @property
    def name(self) -> str: ...

    def process(self, messages: Sequence[Message]) -> Result:
        """Handle a batch, perhaps empty. Repeating it with the same messages changes nothing.

        Raises TransientError when a service is away (the loop repeats the call) and FencedError when another process
        owns the work (the loop ends).
        """

    def delivered(self) -> None:
        """Everything the last `process` returned is with the broker, and its input is committed."""

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


class Loop:
    """Runs one stage over one source until told to stop."""

    def __init__(
        self,
        source: Source,
        stage: Stage,
        publisher: Publisher,
        limits: Limits,
        stop: threading.Event | None = None,
    ) -> None:
        self._source = source
        self._stage = stage
        self._publisher = publisher
        self._limits = limits
        self._stop = stop or threading.Event()
        self._streak = 0
        self.pulse = Pulse()

    def run(self) -> None:
        """Turn until stopped; the batch in hand is always finished. Raises what a stage or adapter raises."""
        while not self._stop.is_set():
            self.turn()

    def turn(self) -> int:
        """One batch; returns how many messages it had."""
        name = self._stage.name
        with METRICS.step_seconds.labels(name, "poll").time():
            # a partition that is assigned claims its scopes in the store
            messages = self._patiently(self._poll, StoreError)
        if messages is None:
            return 0
        started = time.perf_counter()
        result = self._patiently(lambda: self._stage.process(messages))
        if result is None:
            return 0  # told to stop while a service was away; the batch was not committed and comes again
        METRICS.step_seconds.labels(name, "process").observe(time.perf_counter() - started)
        letters = [dead_letter(rejected) for rejected in result.rejected]
        if messages or result.outgoing:
            self._send([*result.outgoing, *letters], messages)
        self._patiently(self._stage.delivered)
        self._account(messages, result, time.perf_counter() - started)
        return len(messages)

    def _poll(self) -> Sequence[Message]:
        return self._source.poll(self._limits.batch_records, self._limits.poll_seconds)

    def _send(self, outgoing: Sequence[Outgoing], messages: Sequence[Message]) -> None:
        name = self._stage.name
        with METRICS.step_seconds.labels(name, "publish").time():
            self._publisher.publish(outgoing)
            self._publisher.flush()
        with METRICS.step_seconds.labels(name, "commit").time():
            self._source.commit(last_positions(messages))

    def _patiently(self, call: Callable[[], _T], away: type[TransientError] = TransientError) -> _T | None:
        """Repeat the call while a service is away, saying so; None when told to stop meanwhile."""
        wait = _FIRST_WAIT_SECONDS
        while True:
            try:
                value = call()
            except away as error:
                if not self.pulse.waiting:
                    _log.warning("waiting", stage=self._stage.name, reason=str(error))
                self.pulse.waiting = str(error)
                METRICS.waiting.labels(self._stage.name).set(1)
                self.pulse.beat = time.monotonic()
                if self._stop.wait(wait * random.uniform(0.5, 1)):  # noqa: S311  # jitter, not a secret
                    return None
                wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
                continue
            if self.pulse.waiting:
                _log.info("resumed", stage=self._stage.name)
                self.pulse.waiting = ""
                METRICS.waiting.labels(self._stage.name).set(0)
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
        if self._streak > self._limits.consecutive_rejects:
            raise TooManyRejectsError(
                f"{name}: {self._streak} messages in a row were rejected, the last because: "
                f"{result.rejected[-1].reason}. They are in {result.rejected[-1].message.position.topic}.dlq. "
                "Mend the producer, or raise limits.consecutive_rejects."
            )


def last_positions(messages: Sequence[Message]) -> list[Position]:
    """The last position of each partition in a batch."""
    last = {(m.position.topic, m.position.partition): m.position for m in messages}
    return list(last.values())


def dead_letter(rejected: Rejected) -> Outgoing:
    """The message for the dead-letter topic: the bytes as they came, and in headers what is wrong with them."""
    message = rejected.message
    position = message.position
    headers = {
        **message.headers,
        "dedup-stage": rejected.stage.encode(),
        "dedup-reason": rejected.reason.encode(),
        "dedup-topic": position.topic.encode(),
        "dedup-partition": str(position.partition).encode(),
        "dedup-offset": str(position.offset).encode(),
        "dedup-timestamp": str(message.timestamp_ms).encode(),
    }
    return Outgoing(f"{position.topic}.dlq", message.key, message.value, headers)
