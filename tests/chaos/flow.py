"""The stream on its way: a feeder that sends rounds at a pace, and what tells whether all of it is through both stages."""

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as KafkaMessage

from tests.chaos.stream import PARTITIONS, Sent
from tests.deployment import Deployment

Ends = Mapping[tuple[str, int], int]
"""Topic and partition → the offset after the last message."""
_ASK_SECONDS = 2.0
_FLUSH_SECONDS = 120.0
_SILENT = logging.getLogger("tests.chaos.clients")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


class Progress:
    """Asks the brokers how far the groups are that are named `under`, else like the deployment. For one thread; a broker that is away means `not yet`."""

    def __init__(self, deployment: Deployment, under: str | None = None) -> None:
        self._deployment = deployment
        group = f"{under or deployment.name}.{deployment.name}"
        base = {"bootstrap.servers": deployment.servers, "logger": _SILENT, "enable.auto.commit": False}
        self._askers = {
            stage: Consumer({**base, "group.id": f"{group}.{stage}", "enable.partition.eof": True})
            for stage in ("encode", "match")
        }
        self._inputs = [(t, p) for t in (deployment.input, deployment.feedback) for p in range(PARTITIONS)]
        self._vectors = [(deployment.vectors, p) for p in range(PARTITIONS)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for asker in self._askers.values():
            asker.close()

    def encoded(self, ends: Ends) -> bool:
        """Whether all before these ends of the input topics is in `vectors`."""
        return not ends or self._is_past("encode", ends)

    def decided(self) -> bool:
        """Whether all that is in `vectors` now is decided, and told."""
        try:
            return self._is_past("match", self._ends("match", self._vectors))
        except KafkaException:
            return False

    def where(self) -> str:
        """How far each group is, for people: committed and end of the partitions that are not through."""
        found = []
        for stage, places in (("encode", self._inputs), ("match", self._vectors)):
            try:
                ends = self._ends(stage, places)
                answers = self._askers[stage].committed([TopicPartition(*p) for p in places], timeout=_ASK_SECONDS)
            except KafkaException as error:
                found.append(f"{stage}: {error}")
                continue
            behind = [(a.topic, a.partition, a.offset, ends[a.topic, a.partition]) for a in answers]
            found += [f"{stage} {t}/{p}: {done} of {end}" for t, p, done, end in behind if max(0, done) < end]
        return "; ".join(found)

    def _ends(self, stage: str, where: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        asker, found = self._askers[stage], {}
        for topic, number in where:
            marks = asker.get_watermark_offsets(TopicPartition(topic, number), timeout=_ASK_SECONDS, cached=False)
            if marks is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            found[topic, number] = marks[1]
        return found

    def _is_past(self, stage: str, ends: Ends) -> bool:
        try:
            answers = self._askers[stage].committed([TopicPartition(*where) for where in ends], timeout=_ASK_SECONDS)
            short = [(a, ends[a.topic, a.partition]) for a in answers if max(0, a.offset) < ends[a.topic, a.partition]]
            return all(a.error is None and self._is_empty(stage, a, end) for a, end in short)
        except KafkaException:
            return False

    def _is_empty(self, stage: str, committed: TopicPartition, end: int) -> bool:
        """Whether no message lies between: a transaction's markers take offsets that nobody commits."""
        asker, start = self._askers[stage], max(0, committed.offset)
        if end - start > 50:
            return False
        asker.assign([TopicPartition(committed.topic, committed.partition, start)])
        deadline = time.monotonic() + _ASK_SECONDS
        try:
            while time.monotonic() < deadline:
                message = asker.poll(0.1)
                if message is None:
                    continue
                error = message.error()
                if error is None:
                    return (message.offset() or 0) >= end
                if error.code() == KafkaError._PARTITION_EOF:
                    return True
        finally:
            asker.unassign()
        return False


class Feeder:
    """A thread that sends a stream straight to the brokers, at a pace."""

    def __init__(self, deployment: Deployment, stream: Iterable[Sent], per_second: float) -> None:
        self.messages = 0
        self._deployment = deployment
        self._stream = stream
        self._per_second = per_second
        # idempotent: a broker that dies while it answers neither doubles a message nor turns two around
        settings = {"enable.idempotence": True, "linger.ms": 5, "logger": _SILENT, "retry.backoff.ms": 50}
        self._producer = Producer({"bootstrap.servers": deployment.servers, **settings})
        self._ends: dict[tuple[str, int], int] = {}
        self._failures: list[BaseException] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def ends(self) -> Ends:
        """Of what was sent so far, as the brokers acknowledged it.

        What a broker says of an end right after it took over may be of a moment before.
        """
        return dict(self._ends)

    def finish(self) -> None:
        """Return once everything sent is with the brokers. Raises what sending raised."""
        self._end.set()
        self._thread.join()
        if self._failures:
            raise self._failures[0]

    def _run(self) -> None:
        try:
            for message in self._stream:
                if self._end.is_set():
                    break
                self._send(message)
            assert self._producer.flush(_FLUSH_SECONDS) == 0
        except BaseException as error:  # noqa: BLE001  # a thread's end must be seen
            self._failures.append(error)

    def _send(self, message: Sent) -> None:
        topic = self._deployment.feedback if message.feedback else self._deployment.input
        self._producer.produce(
            *(topic, message.value, message.key, message.partition),
            timestamp=message.timestamp_ms,
            on_delivery=self._delivered,
        )
        self.messages += 1
        self._producer.poll(0)
        time.sleep(1 / self._per_second)

    def _delivered(self, error: KafkaError | None, message: KafkaMessage) -> None:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if error is not None:
            self._failures.append(KafkaException(error))
            return
        if topic is None or partition is None or offset is None:
            return  # the broker had it already, as a repeated try found out, and does not say where
        self._ends[topic, partition] = max(offset + 1, self._ends.get((topic, partition), 0))


def settle(progress: Progress, ends: Ends, seconds: float) -> None:
    """Return once all before these ends is decided and told. Raises AssertionError when it takes longer."""
    deadline = time.monotonic() + seconds
    while not (progress.encoded(ends) and progress.decided()):
        assert time.monotonic() < deadline, f"not through within {seconds:.0f} s: {progress.where()}"
        time.sleep(0.1)
