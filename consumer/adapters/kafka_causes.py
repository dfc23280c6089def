"""Why there is no connection: librdkafka tells a callback, while the call that waited for one only says that there is none."""

from confluent_kafka import KafkaError

from consumer.adapters.kafka_errors import is_hopeless


class Causes:
    """An `error_cb` that remembers what keeps a client out: a password, a certificate, a right."""

    def __init__(self) -> None:
        self._cause: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        if is_hopeless(error) or error.code() == KafkaError._SSL:
            self._cause = error

    def of(self, error: KafkaError) -> KafkaError:
        """The cause of this error, if it was told; else the error itself. Poll the client before: that is when it is told."""
        return self._cause or error
