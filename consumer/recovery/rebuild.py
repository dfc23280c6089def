"""`dedup rebuild`: Redis made again from the topics, while no matcher runs.

What clusters are is taken from what was told of them; records, evidence, people's words and beliefs from the vectors
topic, replayed through the decider. See `consumer.recovery.reconcile` for where the two differ.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from consumer.adapters.kafka_publisher import send
from consumer.adapters.kafka_reader import highs
from consumer.errors import SettingsError
from consumer.names import scope_partition
from consumer.records import Erasure, Outgoing, Position
from consumer.recovery.reconcile import NOWHERE
from consumer.recovery.restoration import Identity, Restoration, restoration
from consumer.recovery.site import Progress, Site, feed, now_ms
from consumer.recovery.told import Told
from consumer.settings import Settings
from consumer.vectors import pack_erasure

EXAMPLES = 10
_GONE = Position(NOWHERE.topic, NOWHERE.partition, NOWHERE.offset + 1)
"""Where the erasure of a record without a vector comes from: newer than the record, older than nothing else."""


@dataclass(slots=True)
class Rebuilt:
    """What was made."""

    partitions: int = 0
    scopes: int = 0
    records: int = 0
    clusters: int = 0
    differing: int = 0
    """Records that the matcher judges again, for the replay would not have told what was told."""
    torn: int = 0
    """Clusters with members that are none any more: erased, or in another one, of which a crash let only a part be told."""
    lost: int = 0
    """Members of clusters without a vector."""
    dropped: bool = False
    """Null values for these were sent."""
    lost_examples: list[str] = field(default_factory=list)
    unreadable: int = 0
    """Messages of the vectors topic that are of other models, or damaged."""
    new_generation: bool = False
    """Old ids of clusters may be forgotten, so new ones are minted otherwise."""
    seconds: float = 0.0

    def add(self, made: Restoration) -> None:
        self.partitions += 1
        self.scopes += len(made.scopes)
        self.unreadable += made.replayed.rejected
        for scope in made.scopes.values():
            self.records += len(scope.contents.records)
            self.clusters += len(scope.contents.live)
            self.differing += len(scope.differing)
            self.torn += len({change.cluster_id for change in scope.owed})
            self.lost += len(scope.lost)
            self.lost_examples += scope.lost[: EXAMPLES - len(self.lost_examples)]


def rebuild(settings: Settings, *, replace: bool, to_end: bool, drop_missing: bool, progress: Progress) -> Rebuilt:
    """Make Redis again; the partitions one after the other, each whole in memory. Raises DedupError.

    Everything before the group's committed offsets counts as decided; with `to_end`, for a group that lost them, all that
    is in the vectors topic. An interrupted rebuild leaves a mark that no matcher passes, and may be repeated.
    """
    started = time.monotonic()
    with Site(settings) as site:
        site.require_stopped()
        site.require_room(replace=replace)
        # in this order: whatever is decided by now was told before
        committed = site.committed()
        ends = highs(site.reader.ends(site.topic))
        told, whole = site.told(progress)
        until = dict(ends) if to_end else _decided(site, committed, ends, told)
        identity = site.identity(len(ends))
        rebuilt = Rebuilt(new_generation=not whole)
        site.inventory.begin(now_ms())
        site.inventory.wipe()
        lost: list[Outgoing] = []
        for partition, offset in until.items():
            made = _partition(site, identity, told, partition, offset, ends[partition], progress)
            made.write(site.store, now_ms())
            site.save_indexes(made)
            rebuilt.add(made)
            lost += farewells(site.topic, made)
        if to_end:
            site.commit(until)
        if drop_missing and lost:
            send(settings.kafka.producer_properties, lost)
            rebuilt.dropped = True
        site.inventory.finish(None if whole else f"{now_ms()}")
    rebuilt.seconds = round(time.monotonic() - started, 3)
    return rebuilt


def _decided(site: Site, committed: Mapping[int, int], ends: Mapping[int, int], told: Told) -> dict[int, int]:
    """Partition → the group's committed offset. Raises SettingsError where it cannot be what was decided."""
    until = {number: committed.get(number, 0) for number in ends}
    if beyond := [number for number, offset in until.items() if offset > ends[number]]:
        raise SettingsError(
            f"group {site.group} has committed more of {site.topic}[{beyond[0]}] than is there: the topic was deleted and "
            "made anew, so nothing can be rebuilt from it"
        )
    for scope, clusters in told.scopes.items():
        number = scope_partition(scope, len(ends))
        if until[number] == 0 and any(cluster.live for cluster in clusters.values()):
            raise SettingsError(
                f"{site.settings.topics.clusters} tells of clusters of scope {scope}, but group {site.group} has committed "
                f"nothing of {site.topic}[{number}]. Is kafka.group the one the matchers had? If the brokers forgot its "
                "offsets (offsets.retention.minutes), say --to-end: all that is in the topic then counts as decided."
            )
    return until


def _partition(
    site: Site, identity: Identity, told: Told, number: int, offset: int, end: int, progress: Progress
) -> Restoration:
    replay = site.replay(number)
    feed(site, replay, offset, progress)
    later = site.reader.read(site.topic, {number: end}, {number: offset})
    return restoration(identity, replay.finish(offset, later), told)


def farewells(topic: str, made: Restoration) -> list[Outgoing]:
    """Null values for members of clusters that have no vector: the matcher lets them go, by ordinary events."""
    lost = sorted({record_id for scope in made.scopes.values() for record_id in scope.lost})
    return [pack_erasure(Erasure(record_id, _GONE, now_ms()), topic, made.replayed.partition) for record_id in lost]
