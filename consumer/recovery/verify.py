"""`dedup verify`: Redis, topics and index beside each other, also while the service runs.

A service moves while it is read. So a difference counts only if it is there again, the same, when all is read once more;
unless nothing moved at all, which settles it at once.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from consumer.adapters.kafka_reader import highs
from consumer.indexes import build_snapshots
from consumer.kept import row_reader
from consumer.ports import SnapshotStore
from consumer.recovery.contents import Contents
from consumer.recovery.present import Present
from consumer.recovery.site import Progress, Site
from consumer.recovery.verification import (
    Difference,
    beside_each_other,
    beside_index,
    beside_told,
    beside_vectors,
    inner,
)
from consumer.rows import Row
from consumer.settings import Settings

EXAMPLES = 5
_PAUSE_SECONDS = 1.0


@dataclass(slots=True)
class Verified:
    """What was compared, and what differs."""

    records: int = 0
    clusters: int = 0
    scopes: int = 0
    pending: int = 0
    """Changes that are decided and not told yet; they are no differences."""
    snapshots: int = 0
    """Partitions whose snapshot was here, and compared."""
    passes: int = 0
    """How often all was read."""
    moved: bool = False
    """Something was written while it was read for the last time."""
    differences: Mapping[str, int] = field(default_factory=dict)
    """By kind."""
    examples: Sequence[Difference] = ()


def verify(settings: Settings, wait_seconds: float, progress: Progress) -> Verified:
    """Compare. While the service writes, again until nothing differs, nothing moves or the time is over; twice at least.

    Raises DedupError. Reads only.
    """
    deadline = time.monotonic() + wait_seconds
    found: set[Difference] | None = None
    passes = 0
    with Site(settings) as site:
        while True:
            once = _Pass(site, progress)
            differences = once.run()
            passes += 1
            found = differences if found is None else found & differences
            over = passes > 1 and time.monotonic() > deadline
            if not found or not once.result.moved or over:
                break
            time.sleep(_PAUSE_SECONDS)
    result = once.result
    result.passes = passes
    final = sorted(found if once.result.moved else differences)
    result.differences = dict(sorted(Counter(difference.kind for difference in final).items()))
    result.examples = [d for kind in result.differences for d in [x for x in final if x.kind == kind][:EXAMPLES]]
    return result


class _Pass:
    """One reading of everything."""

    def __init__(self, site: Site, progress: Progress) -> None:
        self._site = site
        self._progress = progress
        self.result = Verified()

    def run(self) -> set[Difference]:
        site, result = self._site, self.result
        partitions = sorted(site.reader.ends(site.topic))
        before = self._marks(partitions)
        committed = site.committed()
        told, complete = site.told(self._progress)
        found: set[Difference] = set()
        pending: set[str] = set()
        for number in partitions:
            scopes = site.inventory.contents(number)
            for scope, held in scopes.items():
                result.scopes += 1
                result.records += len(held.records)
                result.clusters += len(held.live)
                result.pending += len(held.outbox)
                pending.update(entry.key for entry in held.outbox if entry.stream == "events")
                found.update(inner(scope, held))
                found.update(beside_told(scope, held, told.of(scope)))
            found.update(self._beside_vectors(number, scopes, committed.get(number, 0)))
        known = {scope for number in partitions for scope in site.inventory.scopes(number)}
        for scope in told.scopes.keys() - known:
            found.update(beside_told(scope, Contents(), told.of(scope)))
        repeats = site.settings.kafka.delivery == "at_least_once"
        found.update(beside_each_other(told, pending, complete=complete, repeats=repeats))
        result.moved = before != self._marks(partitions)
        return found

    def _marks(self, partitions: Sequence[int]) -> object:
        site, topics = self._site, self._site.settings.topics
        scopes = [scope for number in partitions for scope in site.inventory.scopes(number)]
        ends = [highs(site.reader.ends(topic)) for topic in (site.topic, topics.events, topics.clusters)]
        return ends, {scope: site.inventory.mark(scope) for scope in scopes}

    def _beside_vectors(self, number: int, scopes: Mapping[str, Contents], committed: int) -> Iterator[Difference]:
        applied = {scope: held.applied.get(number, -1) for scope, held in scopes.items()}
        deny = self._site.settings.matching.reingest == "deny"
        present = Present(applied, committed, deny=deny)
        snapshot = self._snapshots().load(number, self._site.models.fingerprint, applied)
        at = {s: min(offset, snapshot.offset - 1) for s, offset in applied.items()} if snapshot else {}
        then = Present(at, deny=deny)
        for row in self._rows(number):
            present.take(row)
            if snapshot is not None:
                then.take(row)
        for scope in present.scopes:
            yield from beside_vectors(scope, scopes.get(scope, Contents()), present, number)
        if snapshot is not None:
            self.result.snapshots += 1
            for scope, index in snapshot.indexes.items():
                yield from beside_index(scope, index, then)

    def _rows(self, number: int) -> Iterator[Row]:
        site = self._site
        read = row_reader(site.models.fingerprint, site.models.dim)
        until = {number: highs(site.reader.ends(site.topic))[number]}
        for count, message in enumerate(site.reader.read(site.topic, until)):
            if count % 1000 == 0:
                self._progress(f"reading {site.topic}[{number}]", message.position.offset, until[number])
            row = read(message)
            if row is not None:
                yield row

    def _snapshots(self) -> SnapshotStore:
        site = self._site
        return build_snapshots(site.settings, site.profile, site.models.dim)
