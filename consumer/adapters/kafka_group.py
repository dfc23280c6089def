"""How a consumer joins its group: the newer protocol where the brokers speak it, the classic one elsewhere; or stays outside."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException

from consumer.adapters.kafka_errors import client_error

Properties = Mapping[str, str | int | float | bool]
NEWER: Final = "consumer"
"""KIP-848: the broker assigns, partition by partition, and a rebalance stops nobody."""

_DEFAULTS: Final[Properties] = {
    "auto.offset.reset": "earliest",
    # Without events for the end of a partition a lag would never reach 0 behind a transaction's control record.
    "enable.partition.eof": True,
    # How long a client whose queue was full waits before it fetches again; the default of a second starves a fast loop.
    "fetch.queue.backoff.ms": 20,
    "queued.max.messages.kbytes": 32768,
}
_CLASSIC_ONLY: Final = frozenset(
    {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy", "group.protocol.type"}
)
"""Under the newer protocol these are the broker's, and librdkafka refuses them."""
_OURS: Final[Properties] = {
    "enable.auto.commit": False,
    # Also makes the client wait, when it asks for committed offsets, for a transaction that is about to commit some.
    "isolation.level": "read_committed",
}


def consumer_config(properties: Properties, group: str) -> dict[str, Any]:
    """What a consumer of `group` is made with: the newer protocol unless `properties` choose or need the classic one."""
    config: dict[str, Any] = {"group.id": group, **_DEFAULTS, **properties, **_OURS}
    config.setdefault("group.protocol", "classic" if _CLASSIC_ONLY & properties.keys() else NEWER)
    return config if config["group.protocol"] == NEWER else classic(config)


def outsider(properties: Properties, group: str, queued_kib: int = 32768) -> Consumer:
    """A consumer that is no member of `group`, which it may ask for committed offsets; it is told what to read.

    Of `properties` those that make a member are left out. It fetches `queued_kib` ahead. Raises BrokerError when properties
    are refused. A consumer that is left unclosed hangs the interpreter at its end.
    """
    given = {name: value for name, value in properties.items() if not name.startswith("group.")}
    queued = {"queued.max.messages.kbytes": queued_kib}
    config: dict[str, Any] = {**_DEFAULTS, **queued, **given, **_OURS, "group.id": group}
    try:
        return Consumer({**config, "logger": logging.getLogger("librdkafka")})
    except (KafkaException, ValueError, TypeError) as error:
        raise client_error("consumer", error) from error


def classic(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same under the classic protocol, in which partitions move one by one too."""
    return {"partition.assignment.strategy": "cooperative-sticky", **config, "group.protocol": "classic"}
