"""Settings → the indexes of a deployment: empty ones, those of snapshots, and those kept for others."""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from consumer.adapters import kafka_topics
from consumer.adapters.background_snapshots import BackgroundSnapshots
from consumer.adapters.disk_snapshots import DiskSnapshots
from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.adapters.kafka_tail import KafkaTail
from consumer.adapters.object_snapshots import ObjectSnapshots
from consumer.adapters.snapshot_files import Origin, SnapshotFiles
from consumer.encode import EncoderSet
from consumer.ports import ClusterStore, SnapshotStore, VectorIndex
from consumer.profile import Profile
from consumer.settings import Settings
from consumer.standby import Standby, StandbyLoop, StandbySettings

SPOOL = "spool"
"""In `state.directory`: where snapshots are on their way to and from an object store."""
_HOUR_SECONDS = 3600


def new_index(settings: Settings, dim: int) -> Callable[[], VectorIndex]:
    """A maker of empty indexes."""
    return lambda: GrowingIndex(dim, settings.index.exact_below, hnsw_options(settings), _folder(settings))


def hnsw_options(settings: Settings) -> HnswOptions:
    """The graph's parameters as they are set."""
    index = settings.index
    return HnswOptions(index.dims, index.m, index.ef_construction, index.ef, index.threads)


def _folder(settings: Settings) -> Path | None:
    """Where large indexes keep vectors: beside the snapshots, if that is there; else where temporary files go."""
    folder = settings.state.directory
    return folder if folder.is_dir() else None


def build_snapshots(
    settings: Settings, profile: Profile, dim: int, beat: Callable[[], None] = lambda: None
) -> DiskSnapshots | ObjectSnapshots:
    """Snapshots on the local disk, or at the URL that is set. `beat` is called while a long one is read or written.

    Raises BrokerError, since snapshots belong to one topic of that name, and SettingsError.
    """
    options, exact_below = hnsw_options(settings), settings.index.exact_below
    topic = profile.vectors_topic
    files = SnapshotFiles(
        Origin(profile.name, topic, kafka_topics.identity(settings.kafka.client_properties, topic)),
        lambda folder: GrowingIndex.load(folder, dim, exact_below, options, _folder(settings)),
        max_age_seconds=_max_age_seconds(settings),
        beat=beat,
        former=[local := settings.state.directory / profile.name],
    )
    url = settings.state.snapshots
    if url is None:
        return DiskSnapshots(local, files)
    if url.startswith("file://"):
        return DiskSnapshots(Path(url.removeprefix("file://")) / profile.name, files, shared=True)
    return ObjectSnapshots(f"{url.rstrip('/')}/{profile.name}", settings.state.directory / SPOOL, files)


def _max_age_seconds(settings: Settings) -> float:
    return settings.topics.tombstone_hours * _HOUR_SECONDS / 2


class StandbyWorker:
    """The loop of a hot standby, and the client it owns."""

    def __init__(self, kept: Standby, tail: KafkaTail, stop: threading.Event) -> None:
        self.loop = StandbyLoop(kept, stop)
        self._tail = tail

    def close(self) -> None:
        self._tail.close()


class Indexes:
    """The snapshot store of a matcher, with a standby behind it where one is set."""

    def __init__(
        self,
        settings: Settings,
        encoders: EncoderSet,
        group: str,
        store: ClusterStore,
        stop: threading.Event,
        beat: Callable[[], None],
    ) -> None:
        dim = encoders.layout.dim
        self._drain_seconds = settings.limits.drain_seconds
        self._written = BackgroundSnapshots(build_snapshots(settings, encoders.profile, dim, beat), beat)
        self._kept: Standby | None = None
        self.standby: StandbyWorker | None = None
        if settings.state.standby:
            # what is shared is written by its owner; what is only here, nobody else would write
            save_records = settings.state.snapshot_records if settings.state.snapshots is None else None
            chosen = StandbySettings(
                encoders.fingerprint, dim, _max_age_seconds(settings), save_records, settings.state.erased_minutes * 60
            )
            tail = KafkaTail(settings.kafka.consumer_properties, encoders.profile.vectors_topic, group)
            self._kept = Standby(chosen, tail, store, self._written, new_index(settings, dim))
            self.standby = StandbyWorker(self._kept, tail, stop)

    @property
    def snapshots(self) -> SnapshotStore:
        """For the match stage."""
        return self._written if self._kept is None else self._kept

    def given_back(self, partitions: Iterable[int]) -> None:
        """The match stage did not take these over after all: they are kept on."""
        if self._kept is not None:
            self._kept.given_back(partitions)

    def released(self, partition: int, *, saved: bool) -> None:
        """The match stage has let a partition go, with a snapshot or without one."""
        if self._kept is not None:
            self._kept.released(partition, saved=saved)

    def close(self) -> None:
        """Finish the snapshots that are under way."""
        self._written.close(self._drain_seconds)
