"""Exactly-once delivery: what a batch made and the position of its input, in one Kafka transaction.

A transaction is fenced twice. The broker refuses the offsets of a member that the group has let go (KIP-447). And
between sending the offsets and committing, `confirm` asks the store whether the partitions are still ours: a successor
takes its epoch there before it reads the committed offsets, and that read waits for offsets that are pending. So
either `confirm` sees the successor, or the successor sees how this transaction ended.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final

import structlog
from confluent_kafka import KafkaException, Producer, TopicPartition

from consumer.adapters.kafka_errors import broker_error, client_error, explain
from consumer.adapters.kafka_publisher import DEFAULTS, Failures, Properties, produce
from consumer.adapters.kafka_source import KafkaSource
from consumer.errors import BrokerAwayError
from consumer.metrics import METRICS
from consumer.records import Outgoing, Position

_DEFAULTS: Final[Properties] = {
    **DEFAULTS,
    # How long an unfinished transaction of a process that died holds up subscribers and its successor.
    "transaction.timeout.ms": 10_000,
    # After a commit the coordinator is busy for a few milliseconds, and the client waits this long to ask again.
    "retry.backoff.ms": 5,
    "retry.backoff.max.ms": 50,
    # A topic that is missing is told before the transaction is given up, and so is the reason.
    "topic.metadata.propagation.max.ms": 5_000,
}
_GRACE_SECONDS: Final = 2.0
_log = structlog.get_logger(__name__)


class _StuckError(BrokerAwayError):
    """A call that should have ended has not."""


class KafkaTransactions:
    """Implements `consumer.ports.Delivery` for the batches of one source, on a thread. `properties` win over the defaults.

    `transactional_id` belongs to this process alone: whoever uses it next ends what this one left unfinished.
    Raises BrokerError when the properties are refused.
    """

    def __init__(
        self, properties: Properties, transactional_id: str, source: KafkaSource, timeout_seconds: float = 10.0
    ) -> None:
        self._properties = _config(properties, transactional_id)
        self._source = source
        self._timeout_seconds = timeout_seconds
        self._failures = Failures()
        self._producer: Producer | None = self._made()
        self._initialised = False
        self._outages = source.outages
        self._thread = ThreadPoolExecutor(1, "transactions")
        self._open: Future[None] | None = None

    def send(
        self, messages: Sequence[Outgoing], done: Sequence[Position], confirm: Callable[[], None] = lambda: None
    ) -> None:
        if not messages and not done:
            return
        # asked here: while the source calls back, its client answers no other thread
        offsets, member = self._source.offsets(done), self._source.group_metadata()
        self._open = self._thread.submit(self._transact, messages, offsets, member, confirm)

    def wait(self) -> None:
        if self._open is not None:
            sent, self._open = self._open, None
            sent.result()

    def _transact(
        self, messages: Sequence[Outgoing], offsets: list[TopicPartition], member: Any, confirm: Callable[[], None]
    ) -> None:
        producer = self._ready()
        self._failures.forget()
        try:
            producer.begin_transaction()
            for message in messages:
                produce(producer, message, self._failures.note)
            if offsets:
                self._bounded(lambda: producer.send_offsets_to_transaction(offsets, member, self._timeout_seconds))
            confirm()
            producer.commit_transaction(self._timeout_seconds)
        except KafkaException as error:
            reason = error.args[0]
            self._abandon(producer, abort=reason.txn_requires_abort())
            self._failures.raise_any()
            raise broker_error(reason, f"transaction not committed: {explain(reason)}") from error
        except _StuckError:
            # Its thread keeps the client; a new one of the same id has the coordinator end the transaction.
            self._producer, self._initialised = None, False
            METRICS.transactions.labels("aborted").inc()
            raise
        except BaseException:
            self._abandon(producer, abort=True)
            raise
        METRICS.transactions.labels("committed").inc()

    def settle(self) -> None:
        """Return once no transaction of ours is pending: what the group has committed is the truth then."""
        if self._open is not None:
            wait([self._open])
        self._ready()

    def close(self) -> None:
        """Nothing is queued between two deliveries."""
        self._thread.shutdown()
        self._producer = None

    def _ready(self) -> Producer:
        """A producer, once what one of its id left unfinished has ended."""
        if self._outages != self._source.outages:
            # A client that was there in an outage may wait for an answer that was lost in it: see `_bounded`.
            self._outages = self._source.outages
            self._producer, self._initialised = None, False
        producer = self._producer = self._producer or self._made()
        if not self._initialised:
            try:
                producer.init_transactions(self._timeout_seconds)
            except KafkaException as error:
                reason = error.args[0]
                if not reason.retriable():
                    self._producer = None
                raise broker_error(reason, f"transactions cannot be used: {explain(reason)}") from error
            self._initialised = True
        return producer

    def _abandon(self, producer: Producer, *, abort: bool) -> None:
        """End the transaction; what of it failed on the way is kept for `Failures.raise_any`."""
        METRICS.transactions.labels("aborted").inc()
        if abort:
            try:
                producer.abort_transaction(self._timeout_seconds)
            except KafkaException as error:
                _log.warning("abort_failed", error=explain(error.args[0]))
            else:
                return
        # How it ended is not known. A new client of the same id has the coordinator finish it, one way or the other.
        producer.purge()
        self._producer, self._initialised = None, False

    def _bounded(self, call: Callable[[], None]) -> None:
        """Make a call that librdkafka may not end by itself.

        Where the coordinator was away, its request waits for good, whatever the timeout (confluentinc/librdkafka issues
        5456 and 5511). The thread is left to it.
        """
        outcome: list[BaseException | None] = []

        def run() -> None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001  # raised below, in the thread that asked
                outcome.append(error)
            else:
                outcome.append(None)

        worker = threading.Thread(target=run, name="offsets", daemon=True)
        worker.start()
        worker.join(self._timeout_seconds + _GRACE_SECONDS)
        if not outcome:
            raise _StuckError(
                "the broker did not take the offsets of a batch in time; trying again with a new producer"
            )
        if outcome[0] is not None:
            raise outcome[0]

    def _made(self) -> Producer:
        try:
            return Producer(self._properties)
        except (KafkaException, ValueError, TypeError) as error:
            raise client_error("producer", error) from error


def _config(properties: Properties, transactional_id: str) -> dict[str, object]:
    config = {**_DEFAULTS, **properties, "transactional.id": transactional_id}
    # librdkafka wants a message to give up before its transaction does
    longest = int(config["transaction.timeout.ms"])
    config["delivery.timeout.ms"] = min(int(config["delivery.timeout.ms"]), longest)
    return {**config, "logger": logging.getLogger("librdkafka")}
