"""Source over Kafka: a member of a consumer group, one synchronous client.

A position counts as done only once `commit`, or a transaction, said so. Partitions move one by one, so a rebalance
takes nothing from a consumer that keeps its partitions.
"""

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from consumer.adapters import kafka_offsets
from consumer.adapters.kafka_errors import (
    broker_error,
    client_error,
    explain,
    is_end,
    is_hopeless,
    is_passing,
)
from consumer.adapters.kafka_group import NEWER, Properties, classic, consumer_config
from consumer.adapters.kafka_held import Held, OnAssigned, OnRevoked, Partition
from consumer.adapters.kafka_messages import received_message
from consumer.adapters.kafka_progress import Progress
from consumer.adapters.kafka_troubles import Troubles
from consumer.errors import BrokerError
from consumer.records import Message, Position

_LINGER_SECONDS: Final = 0.002
_PACE_SECONDS: Final = 0.025
"""Between two batches that are not full: each costs the broker, the store and us a share of its own (docs/performance.md)."""
_HEED_SECONDS: Final = 0.1
_log = structlog.get_logger(__name__)
_client_log = logging.getLogger("librdkafka")


class KafkaSource:
    """Consumes `topics` as a member of `group`.

    `properties` are librdkafka's and win over the defaults here; only `enable.auto.commit` stays false, and
    `isolation.level` read_committed.

    `on_assigned` is called inside `poll` with the partitions that came, and may answer where to start each
    (-2: the beginning); a partition it leaves out starts at the group's committed offset. When it raises, poll raises
    the same exception, nothing of those partitions is delivered, and the next poll asks it again.

    `on_revoked` is called inside `poll` or `close` with the partitions that go. Its second argument is true when they
    are gone already (the group gave them to another member): then nothing may be written or committed for them. When
    it raises, poll (or close) raises the same exception after the partitions were let go.

    Raises BrokerError when the properties are refused.
    """

    def __init__(
        self,
        properties: Properties,
        group: str,
        topics: Sequence[str],
        on_assigned: OnAssigned | None = None,
        on_revoked: OnRevoked | None = None,
        timeout_seconds: float = 10.0,
    ) -> None:
        self._topics = list(topics)
        self._timeout_seconds = timeout_seconds
        self._troubles = Troubles()
        self._held = Held(on_assigned, on_revoked, self._troubles.fail)
        self._progress = Progress(self._held, self._troubles)
        # Taken from librdkafka and not yet returned: a poll that raises leaves them to the next one.
        self._ready: list[Message] = []
        self._returned = 0.0
        """When the last batch was."""
        self._topics_found = False
        self._closed = False
        self._config = consumer_config(properties, group)
        # The newer protocol was nobody's choice, and has not worked yet in this process.
        self._may_fall_back = self._config["group.protocol"] == NEWER and "group.protocol" not in properties
        self._consumer = self._joining()

    def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Message]:
        """Wait up to `timeout_seconds` for a first message, then take what is there, `max_records` at most.

        Soon after the last batch, what else comes is awaited, too: a message that comes alone waits for nobody.
        Raises BrokerError when a topic is missing or access is refused, and whatever the callbacks raise. A broker
        that is away is not an error here: librdkafka reconnects, and polls stay empty until then.
        """
        if self._closed:
            raise BrokerError("this source is closed")
        self._troubles.look(self._consumer, self._topics[0])
        if not self._topics_found and not self._find_topics(timeout_seconds):
            return []
        self._held.start_again(self._consumer)
        self._progress.repeat(self._consumer)
        deadline = time.monotonic() + timeout_seconds
        # consume(n, t) waits all of t unless n came, so the first message is awaited alone.
        while not self._ready:
            remaining = deadline - time.monotonic()
            self._take(1, max(0.0, remaining))
            if remaining <= 0:
                break
        if 0 < len(self._ready) < max_records:
            pause = self._returned + _PACE_SECONDS - time.monotonic()
            self._take(max_records - len(self._ready), max(_LINGER_SECONDS, pause))
        ready = self._ready[:max_records]
        del self._ready[:max_records]
        if ready:
            self._returned = time.monotonic()
        return ready

    def commit(self, positions: Sequence[Position]) -> None:
        """Tell the group that everything up to and including each position is done; the answer is not waited for.

        What is not taken is told again, and what never will be is raised by the next poll. A partition goes to another
        member only once that is settled. Positions of partitions that are no longer assigned are left out. A commit refused
        because the group is rebalancing is logged and let go: the records come again, to whoever owns the partition then.
        """
        self._progress.commit(self._consumer, positions)

    def offsets(self, positions: Sequence[Position]) -> list[TopicPartition]:
        """What a transaction commits for everything up to and including each position."""
        return [TopicPartition(p.topic, p.partition, p.offset + 1) for p in positions]

    def group_metadata(self) -> Any:
        """Who this member is, for a transaction to be refused once the group has let it go."""
        return self._consumer.consumer_group_metadata()

    def committed(self, topic: str, partition: int) -> int:
        """Offset after the last that the group has committed, 0 for none.

        A transaction that is to commit one is waited for. Raises BrokerAwayError when that takes too long.
        """
        return kafka_offsets.committed(self._consumer, (topic, partition), self._timeout_seconds) or 0

    def keep_alive(self) -> None:
        """Heed the group for a moment while nothing is taken.

        librdkafka lets a member go that has not polled for `max.poll.interval.ms`. What a callback raises is raised by
        the next poll.
        """
        if self._closed:
            return
        held = [TopicPartition(*p) for p in self._held.all]
        try:
            if held:
                self._consumer.pause(held)
            self._receive(1, _HEED_SECONDS)
            if staying := [TopicPartition(*p) for p in self._held.live()]:
                self._consumer.resume(staying)
        except KafkaException as error:
            self._troubles.fail(broker_error(error.args[0], explain(error.args[0])))

    def gone(self) -> Collection[Partition]:
        """The partitions that went since this was last asked, perhaps to come back."""
        gone = set(self._held.gone)
        self._held.gone.clear()
        return gone

    @property
    def trouble(self) -> str:
        """Why nothing comes, while no broker answers; else empty."""
        return self._troubles.outage

    @property
    def outages(self) -> int:
        """How often no broker answered any more."""
        return self._troubles.outages

    def lag(self) -> Mapping[Partition, int]:
        """Messages between what was delivered and the end, per assigned partition; asks no broker once fetching.

        A partition of which nothing was fetched yet counts from the committed offset (asked once). One whose end is
        not known yet is left out. Compaction makes this an upper bound.
        """
        lags = {}
        for partition in self._held.live():
            try:
                where = TopicPartition(*partition)
                first, end = self._consumer.get_watermark_offsets(where, cached=True)
                if end < 0:
                    continue
                lags[partition] = max(0, end - self._start(partition, first))
            except (KafkaException, BrokerError) as error:
                _log.warning("lag_unknown", topic=partition[0], partition=partition[1], error=str(error))
        return lags

    def high_watermark(self, topic: str, partition: int) -> int:
        """Offset after the last message of a partition, asked of its leader now. Raises BrokerError."""
        return kafka_offsets.ends(self._consumer, (topic, partition), self._timeout_seconds)[1]

    def position(self, topic: str, partition: int) -> int | None:
        """Next offset to be delivered, None before the first fetch.

        At the end of a partition it equals the high watermark, also behind a transaction's control record, which is
        never delivered as a message: compare this, not message offsets, to know that a replay is complete.
        """
        waiting = (
            m.position.offset for m in self._ready if (m.position.topic, m.position.partition) == (topic, partition)
        )
        return next(waiting, self._held.next.get((topic, partition)))

    def close(self) -> None:
        """Leave the group; `on_revoked` is called for what is still assigned. May be called twice."""
        if self._closed:
            return
        self._closed = True
        try:
            self._consumer.close()
        except KafkaException as error:
            _log.warning("consumer_close_failed", error=explain(error.args[0]))
        self._troubles.raise_any()

    def _joining(self) -> Consumer:
        try:
            told = {"error_cb": self._troubles, "on_commit": self._progress, "logger": _client_log}
            consumer = Consumer({**self._config, **told})
            consumer.subscribe(self._topics, on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose)
        except (KafkaException, ValueError, TypeError) as error:
            raise client_error("consumer", error) from error
        return consumer

    def _fall_back(self, reason: KafkaError) -> None:
        """Join anew under the classic protocol.

        The brokers do not speak the newer one; or a process under this `group.instance.id` died, and under the newer one its
        place is kept until its session ends (45 s by default), while the classic one gives it to us at once.
        """
        _log.info("classic_group_protocol", group=self._config["group.id"], reason=explain(reason))
        self._may_fall_back = False
        self._config = classic(self._config)
        self._consumer.close()
        self._consumer = self._joining()

    def _find_topics(self, timeout_seconds: float) -> bool:
        # Under the newer group protocol a missing topic is no error: nothing would ever be assigned, in silence.
        for topic in self._topics:
            try:
                trouble = self._consumer.list_topics(topic, timeout=max(1.0, timeout_seconds)).topics[topic].error
            except KafkaException as error:
                trouble = error.args[0]
            if trouble is not None:
                if not is_passing(trouble):
                    raise BrokerError(explain(trouble, topic))
                self._troubles.warn(explain(trouble))
                return False
        self._topics_found = True
        return True

    def _take(self, limit: int, timeout_seconds: float) -> None:
        try:
            self._receive(limit, timeout_seconds)
        except KafkaException as error:
            raise broker_error(error.args[0], explain(error.args[0])) from error
        self._troubles.raise_any()

    def _receive(self, limit: int, timeout_seconds: float) -> None:
        for raw in self._consumer.consume(limit, timeout_seconds):
            error = raw.error()
            if error is not None and error.code() == KafkaError._FATAL and self._may_fall_back:
                self._fall_back(error)
                return
            if error is not None:
                self._judge(error, raw)
                continue
            self._troubles.passed()
            message = received_message(raw)
            partition = (message.position.topic, message.position.partition)
            if partition in self._held:
                self._held.next[partition] = message.position.offset + 1
                self._ready.append(message)

    def _judge(self, error: KafkaError, raw: KafkaMessage) -> None:
        topic, partition, offset = raw.topic(), raw.partition(), raw.offset()
        if partition is None or topic is None:
            # of no partition: the group refuses this client, or the client is beyond repair
            if error.code() == KafkaError._FATAL or is_hopeless(error):
                self._troubles.fail(BrokerError(explain(error)))
        elif is_end(error):
            if offset is not None and (topic, partition) in self._held.all:
                self._held.next[topic, partition] = offset
        elif is_passing(error):
            _log.warning("consume_retried", topic=topic, partition=partition, error=explain(error))
        else:
            self._troubles.fail(
                broker_error(error, explain(error, f"{topic}/{partition}" if partition >= 0 else topic))
            )

    def _start(self, partition: Partition, first: int) -> int:
        # The first offset is not asked for: behind a fetch that waits for messages, an answer takes half a second.
        if partition not in self._held.next:
            start = kafka_offsets.committed(self._consumer, partition, self._timeout_seconds)
            self._held.next[partition] = max(0, first) if start is None else start
        return self._held.next[partition]

    # called inside librdkafka

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._may_fall_back = False
        self._held.come(consumer, partitions)

    def _revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._let_go(consumer, partitions, lost=False)

    def _lose(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._let_go(consumer, partitions, lost=True)

    def _let_go(self, consumer: Consumer, partitions: list[TopicPartition], *, lost: bool) -> None:
        self._held.go(consumer, partitions, lost=lost)
        self._progress.forget((p.topic, p.partition) for p in partitions)
        self._ready = [m for m in self._ready if (m.position.topic, m.position.partition) in self._held.all]
