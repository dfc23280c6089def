"""The partitions that a member of a group holds: their coming, their going, and where each goes on."""

from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import OFFSET_INVALID, Consumer, TopicPartition

Partition = tuple[str, int]
OnAssigned = Callable[[Sequence[Partition]], Mapping[Partition, int]]
OnRevoked = Callable[[Sequence[Partition], bool], None]


class Held:
    """What `KafkaSource` documents of `on_assigned` and `on_revoked`. `fail` is told what these raise inside librdkafka."""

    def __init__(
        self, on_assigned: OnAssigned | None, on_revoked: OnRevoked | None, fail: Callable[[Exception], None]
    ) -> None:
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._fail = fail
        self._unstarted: set[Partition] = set()
        self.all: set[Partition] = set()
        self.next: dict[Partition, int] = {}
        """The next offset to be taken from librdkafka, once that is known."""
        self.gone: set[Partition] = set()
        """Partitions that went since somebody cleared this."""

    def __contains__(self, partition: Partition) -> bool:
        """Whether messages of a partition may be taken."""
        return partition in self.all and partition not in self._unstarted

    def live(self) -> list[Partition]:
        """Those that messages may be taken of."""
        return sorted(self.all - self._unstarted)

    def come(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Inside librdkafka's callback: hold these as well."""
        came = [(p.topic, p.partition) for p in partitions]
        self.all.update(came)
        try:
            consumer.incremental_assign(self._started(came))
            # librdkafka remembers of a partition that went that it was paused
            consumer.resume([TopicPartition(*p) for p in came])
        except Exception as error:  # noqa: BLE001  # librdkafka's C frames must not be unwound; poll raises it
            self._fail(error)
            # The rebalance has to be completed all the same; held still until on_assigned succeeds.
            self._unstarted.update(came)
            consumer.incremental_assign([TopicPartition(*p) for p in came])
            consumer.pause([TopicPartition(*p) for p in came])

    def start_again(self, consumer: Consumer) -> None:
        """Ask `on_assigned` once more about those that it failed for. Raises what it raises."""
        if not self._unstarted:
            return
        waiting = sorted(self._unstarted)
        starts = self._started(waiting)
        consumer.incremental_unassign([TopicPartition(*p) for p in waiting])
        consumer.incremental_assign(starts)
        consumer.resume([TopicPartition(*p) for p in waiting])
        self._unstarted.difference_update(waiting)

    def go(self, consumer: Consumer, partitions: list[TopicPartition], *, lost: bool) -> None:
        """Inside librdkafka's callback: let these go."""
        gone = [(p.topic, p.partition) for p in partitions]
        known = [p for p in gone if p not in self._unstarted]
        if lost:
            self.all.difference_update(gone)
        try:
            # While it runs, partitions that are only revoked can still be committed.
            if known and self._on_revoked is not None:
                self._on_revoked(known, lost)
        except Exception as error:  # noqa: BLE001  # as in `come`
            self._fail(error)
        self.all.difference_update(gone)
        self._unstarted.difference_update(gone)
        self.gone.update(gone)
        for partition in gone:
            self.next.pop(partition, None)
        consumer.incremental_unassign(partitions)

    def _started(self, partitions: Sequence[Partition]) -> list[TopicPartition]:
        starts = self._on_assigned(partitions) if self._on_assigned is not None and partitions else {}
        for partition in partitions:
            self.next.pop(partition, None)
            if starts.get(partition, -1) >= 0:
                self.next[partition] = starts[partition]
        return [
            TopicPartition(topic, number, starts.get((topic, number), OFFSET_INVALID)) for topic, number in partitions
        ]
