"""The two stages as loops over Kafka, with the clients and stores that each owns."""

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from consumer.adapters.kafka_group import Properties
from consumer.adapters.kafka_publisher import KafkaPublisher
from consumer.adapters.kafka_source import KafkaSource
from consumer.adapters.kafka_transactions import KafkaTransactions
from consumer.delivery import AtLeastOnce
from consumer.encode import EncoderSet, EncodeStage
from consumer.garbage import collect_rarely
from consumer.indexes import Indexes, StandbyWorker
from consumer.loop import Loop
from consumer.names import encoders_group, matchers_group
from consumer.settings import Settings
from consumer.wiring import build_inventory, build_match_stage, build_store, limits

Partition = tuple[str, int]
_COLLECTED: Final[Properties] = {"fetch.min.bytes": 16_384, "fetch.wait.max.ms": 10}
"""Records come one by one, each from somebody else. The broker collects them for so long, instead of answering for each."""


class KafkaWorker:
    """A loop with the Kafka clients and the store it owns; perhaps a standby, which is run and closed apart from it."""

    def __init__(self, loop: Loop, close: Sequence[Callable[[], None]], standby: StandbyWorker | None = None) -> None:
        self.loop = loop
        self.standby = standby
        self._close = close
        collect_rarely()

    def close(self) -> None:
        """Leave the group (the matcher writes its snapshots then), and disconnect."""
        for close in self._close:
            close()


def encode_worker(settings: Settings, encoders: EncoderSet, stop: threading.Event) -> KafkaWorker:
    """The encode stage from the profile's input topic and that of feedback to its vectors topic, with its models warm."""
    profile, feedback = encoders.profile, settings.topics.feedback
    publisher = KafkaPublisher(settings.kafka.producer_properties)
    encoders.warm_up()  # after what may be refused at once, before a consumer that would hold partitions meanwhile
    stage = EncodeStage(encoders, publisher.partitions(profile.vectors_topic), feedback)
    group = encoders_group(settings, profile)

    def revoked(partitions: Sequence[Partition], lost: bool) -> None:
        del partitions, lost
        loop.settle()

    properties = {**_COLLECTED, **settings.kafka.consumer_properties}
    source = KafkaSource(properties, group, [profile.input, feedback], on_revoked=revoked)
    loop = Loop(source, stage, AtLeastOnce(source, publisher), limits(settings), stop)
    return KafkaWorker(loop, [source.close, publisher.close])


def match_worker(settings: Settings, encoders: EncoderSet, stop: threading.Event) -> KafkaWorker:
    """The match stage between the profile's vectors topic and the event topics."""
    profile = encoders.profile
    topic = profile.vectors_topic
    store = build_store(settings, profile)

    def beat() -> None:
        loop.pulse.beat = time.monotonic()

    group = matchers_group(settings, profile)
    indexes = Indexes(settings, encoders, group, store, stop, beat)

    def position(partition: int) -> int | None:
        return source.position(topic, partition)

    def committed(partition: int) -> int:
        if isinstance(delivery, KafkaTransactions):
            delivery.settle()  # what became of our own last transaction decides what is committed
        return source.committed(topic, partition)

    partitions = KafkaPublisher(settings.kafka.producer_properties).partitions
    stage = build_match_stage(settings, encoders, store, indexes.snapshots, position, committed, partitions)
    inventory = build_inventory(settings, profile)

    def assigned(partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        loop.settle()
        inventory.require_whole()
        stage.mint_with(inventory.generation())
        numbers = [number for _, number in partitions]
        try:
            return {(topic, n): stage.assigned(n, source.high_watermark(topic, n)) for n in numbers}
        except BaseException:  # all or none: what the source does not hold, nobody would tell us to let go
            stage.given_back(numbers)
            indexes.given_back(numbers)
            raise

    def revoked(partitions: Sequence[Partition], lost: bool) -> None:  # the source's callback
        loop.settle()
        for _, number in partitions:
            indexes.released(number, saved=stage.revoked(number, lost=lost))

    # A consumer that is left unclosed, because something after it was refused, hangs the interpreter at its end.
    source = KafkaSource(settings.kafka.consumer_properties, group, [topic], assigned, revoked)
    try:
        delivery = _delivery(settings, group, source)
    except BaseException:
        source.close()
        raise
    loop = Loop(source, stage, delivery, limits(settings), stop)
    closing = [source.close, delivery.close, indexes.close, store.close, inventory.close]
    return KafkaWorker(loop, closing, indexes.standby)


def _delivery(settings: Settings, group: str, source: KafkaSource) -> KafkaTransactions | AtLeastOnce:
    properties = settings.kafka.producer_properties
    if settings.kafka.delivery == "at_least_once":
        return AtLeastOnce(source, KafkaPublisher(properties))
    # At random where no name is set: what a process that died left unfinished then ends by transaction.timeout.ms.
    return KafkaTransactions(properties, f"{group}.{settings.kafka.instance or uuid.uuid4()}", source)
