"""The processes of a load test: generators and readers, each with an interpreter of its own and a pipe to it."""

import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from consumer.errors import DedupError
from consumer.profile import Profile
from consumer.records import Doubles
from consumer.settings import Settings
from loadtest.author import KINDS, record_id
from loadtest.generator import Assignment, Sent, generate
from loadtest.reader import Arrivals, EventNotes, RecordNotes, Told, read
from loadtest.workload import Workload

_HEAD_START_NS = 300_000_000
"""Between the order to send and the first intended moment."""
_END_SECONDS = 10.0


class Worker:
    """One process, started anew and not forked: librdkafka's threads do not survive a fork."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(target, theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()

    def tell(self, order: object) -> None:
        try:
            self._pipe.send(order)
        except OSError as error:
            raise self._ended() from error

    def answer(self) -> Any:
        """What it sends next. Raises DedupError when it ended instead."""
        try:
            return self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error

    def close(self) -> None:
        try:
            self._pipe.send(None)
        except OSError:
            pass  # it ended by itself
        else:
            self._process.join(_END_SECONDS)
        self._process.kill()

    def _ended(self) -> DedupError:
        self._process.join(_END_SECONDS)
        return DedupError(
            f"a process of the load test ended with exit code {self._process.exitcode}; what it said is above"
        )


def _work(target: Callable[..., None], *arguments: Any) -> None:
    """In the process: an error of ours is a message, not a traceback."""
    try:
        target(*arguments)
    except DedupError as error:
        sys.exit(f"loadtest: {error}")


class Fleet:
    """All processes of one run. Sends what the workload says and knows the truth about it."""

    def __init__(self, settings: Settings, profile: Profile, workload: Workload, run: str, seed: int) -> None:
        self._run = run
        self._stack = ExitStack()
        consumer, producer = settings.kafka.consumer_properties, settings.kafka.producer_properties
        topics = [settings.topics.events, profile.vectors_topic, f"{profile.input}.dlq"]
        notes = [EventNotes, RecordNotes, RecordNotes]
        self._readers = [
            self._started(read, consumer, topic, kept, run) for topic, kept in zip(topics, notes, strict=True)
        ]
        self._generators = [
            self._started(generate, Assignment(run, n, seed, workload, profile, producer))
            for n in range(workload.generators)
        ]
        self.truth: dict[str, tuple[int, int]] = {}
        """Record → (generator, entity), of all that were sent and not erased."""
        self.lengths: list[int] = []
        """Messages that were sent in one go, each time."""
        self.counts: dict[str, int] = dict.fromkeys(KINDS, 0)

    def __enter__(self) -> Self:
        for reader in self._readers:
            reader.answer()  # it reads from here on
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def send(self, moments: Doubles) -> tuple[int, Sequence[Sent]]:
        """Send a message at each moment; returns when the first was meant to leave, and what was sent."""
        count = len(self._generators)
        self.lengths.append(len(moments))
        for generator in self._generators:
            generator.tell(len(moments) // count + 1)
        for generator in self._generators:
            generator.answer()
        start_ns = time.time_ns() + _HEAD_START_NS
        for number, generator in enumerate(self._generators):
            generator.tell((start_ns, moments[number::count]))
        sent = [generator.answer() for generator in self._generators]
        for number, part in enumerate(sent):
            self._learn(number, part)
        return start_ns, sent

    def arrivals(self) -> Mapping[str, Arrivals]:
        """Of events and of vectors, since this was asked last."""
        events, vectors, _ = self._readers
        for reader in (events, vectors):
            reader.tell("arrivals")
        return {"events": events.answer(), "vectors": vectors.answer()}

    def told(self) -> tuple[Told, int]:
        """What the events came to, and the number of dead letters."""
        events, _, letters = self._readers
        for reader in (events, letters):
            reader.tell("told")
        return events.answer(), letters.answer()

    def _started(self, target: Callable[..., None], *arguments: Any) -> Worker:
        worker = Worker(target, *arguments)
        self._stack.callback(worker.close)
        return worker

    def _learn(self, generator: int, sent: Sent) -> None:
        for kind_number, record, entity in zip(
            sent.kinds.tolist(), sent.records.tolist(), sent.entities.tolist(), strict=True
        ):
            kind = KINDS[kind_number]
            self.counts[kind] += 1
            name = record_id(self._run, generator, record)
            if kind == "erase":
                self.truth.pop(name, None)
            elif kind != "poison":
                self.truth[name] = (generator, entity)
