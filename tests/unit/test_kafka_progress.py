"""What becomes of a commit that the group did not take. One that it takes is the matter of the contract of sources."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumer.adapters.kafka_held import Held
from consumer.adapters.kafka_progress import Progress
from consumer.adapters.kafka_troubles import Troubles
from consumer.errors import BrokerError
from consumer.records import Position

T = "in"


class Group:
    """Stands for the client: keeps what it was asked to commit."""

    def __init__(self) -> None:
        self.told: list[Mapping[int, int]] = []
        self.refuses: int | None = None
        """With this code the client itself takes no commit."""
        self.troubles = Troubles()
        self.held = Held(None, None, self.troubles.fail)
        self.held.all = {(T, 0), (T, 1)}
        self.progress = Progress(self.held, self.troubles)
        self.client = cast("Consumer", self)

    def commit(self, offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous
        if self.refuses is not None:
            raise KafkaException(cast("Any", KafkaError)(self.refuses))
        self.told.append({o.partition: o.offset for o in offsets})

    def done(self, *positions: tuple[int, int]) -> None:
        self.progress.commit(self.client, [Position(T, partition, offset) for partition, offset in positions])

    def answer(self, code: int, *partitions: int) -> None:
        self.progress(cast("Any", KafkaError)(code), [TopicPartition(T, partition, 0) for partition in partitions])

    def repeat(self) -> None:
        self.progress.repeat(self.client)


def test_the_last_of_each_partition_that_is_held_is_told() -> None:
    group = Group()
    group.done((0, 3), (1, 8), (0, 5), (2, 1))
    assert group.told == [{0: 6, 1: 9}]
    group.done((2, 2))
    group.progress(None, [TopicPartition(T, 0, 6), TopicPartition(T, 1, 9)])
    group.repeat()
    assert len(group.told) == 1, "nothing is left to tell"


def test_what_was_not_taken_is_told_again_once_as_far_as_it_is_done_by_then() -> None:
    group = Group()
    group.done((0, 3), (1, 8))
    group.done((0, 5))
    group.answer(KafkaError.NOT_COORDINATOR, 0, 1)
    group.repeat()
    group.repeat()
    assert group.told[2:] == [{0: 6, 1: 9}]


def test_a_later_commit_is_in_the_place_of_one_that_was_not_taken() -> None:
    group = Group()
    group.done((0, 3))
    group.answer(KafkaError.REQUEST_TIMED_OUT, 0)
    group.done((0, 7))
    group.repeat()
    assert group.told == [{0: 4}, {0: 8}]


def test_nothing_is_told_of_a_partition_that_went_even_if_it_is_back() -> None:
    """Its next owner may be further by then."""
    group = Group()
    group.done((0, 3), (1, 3))
    group.answer(KafkaError.NOT_COORDINATOR, 0, 1)
    group.progress.forget([(T, 0)])
    group.answer(KafkaError.NOT_COORDINATOR, 0)
    group.repeat()
    assert group.told[1:] == [{1: 4}]


@pytest.mark.parametrize("code", [KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS])
def test_what_a_rebalance_refuses_is_let_go(code: int) -> None:
    group = Group()
    group.done((0, 3))
    group.answer(code, 0)
    group.repeat()
    group.troubles.raise_any()
    assert len(group.told) == 1


def test_what_no_retry_helps_is_raised_by_the_next_poll() -> None:
    group = Group()
    group.done((0, 3))
    group.answer(KafkaError.GROUP_AUTHORIZATION_FAILED, 0)
    with pytest.raises(BrokerError, match="commit of in/0"):
        group.troubles.raise_any()


def test_what_the_client_itself_does_not_take_is_an_error_and_still_to_be_told() -> None:
    group = Group()
    group.done((0, 3))
    group.answer(KafkaError.NOT_COORDINATOR, 0)
    group.refuses = KafkaError._STATE
    with pytest.raises(BrokerError, match="commit"):
        group.repeat()
    group.refuses = None
    group.repeat()
    assert group.told == [{0: 4}, {0: 4}]
