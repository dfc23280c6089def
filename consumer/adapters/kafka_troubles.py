"""What goes wrong while a consumer polls: what librdkafka repairs is logged once, the rest the next poll raises."""

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException

from consumer.adapters.kafka_errors import explain, is_hopeless
from consumer.errors import BrokerError

_log = structlog.get_logger(__name__)


class Troubles:
    """An `error_cb`, and what other callbacks failed with: none of them may raise inside librdkafka."""

    def __init__(self) -> None:
        self._failure: Exception | None = None
        self._told = ""
        self.outage = ""
        """Why no broker answers; empty while one does, as far as is known."""
        self.outages = 0

    def __call__(self, error: KafkaError) -> None:
        if is_hopeless(error):
            self.fail(BrokerError(explain(error)))
            return
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.outages += not self.outage
            self.outage = explain(error)
        self.warn(explain(error))

    def fail(self, error: Exception) -> None:
        """The first is the cause; poll raises it once everything received beside it is kept."""
        if self._failure is None:
            self._failure = error

    def raise_any(self) -> None:
        """Raise, once, what failed."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def warn(self, trouble: str) -> None:
        """Once an outage: librdkafka repeats itself at every attempt to connect."""
        if trouble != self._told:
            _log.warning("broker_trouble", error=trouble)
        self._told = trouble

    def passed(self) -> None:
        """Something came."""
        self._told = ""

    def look(self, consumer: Consumer, topic: str) -> None:
        """While no broker answered, ask whether one does again: librdkafka does not tell."""
        if self.outage:
            try:
                consumer.list_topics(topic, timeout=1.0)
            except KafkaException as error:
                self.outage = explain(error.args[0])
            else:
                self.outage = ""
