"""Versions of a record that come after a newer one, as from an encoder that lost its partition and did not know it yet.

The matcher drops them. The vectors topic, though, keeps the last message of a key: compaction would leave the old version
alone, and a rebuild would take it in. So what stands is told to the topic once more, behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from consumer.ports import Known, VectorIndex
from consumer.records import Erasure, OutboxEntry, Vector
from consumer.rows import Row, is_stale
from consumer.vectors import erasure_entry, vector_entry

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ScopeBefore:
    """A scope as it was before some rows."""

    scope: str
    fingerprint: str
    known: Known
    index: VectorIndex

    def standing_version(self, item: Vector | Erasure) -> Vector | Erasure | None:
        """That of the same record, ingested when `item` was; None where there was none, or the index lacks it."""
        state = self.known.records.get(item.id)
        if state is None:
            erased = self.known.erased.get(item.id)
            return None if erased is None else Erasure(item.id, erased, item.ingested_ms)
        if item.id not in self.index:
            return None
        values, masks = self.index.vectors([item.id])
        return Vector(
            id=item.id,
            scope=self.scope,
            fingerprint=self.fingerprint,
            source=state.source,
            ingested_ms=item.ingested_ms,
            born_ms=state.born_ms,
            quality=state.quality,
            mask=masks[0],
            values=values[0].astype(np.float16),
        )


def restated(rows: Sequence[Row], fresh: Sequence[Row], before: ScopeBefore) -> list[OutboxEntry]:
    """For each row older than the version that stood when it came: an entry that sends that version to the topic again.

    `fresh` are the rows that were not stale.
    """
    news = {row.position for row in fresh}
    newest: dict[str, Vector | Erasure] = {}
    entries = []
    for row in rows:
        item = row.item
        if not isinstance(item, Vector | Erasure):
            continue
        if row.position in news:
            newest[item.id] = item
            continue
        stands = newest.get(item.id) or before.standing_version(item)
        if stands is None or stands.source == item.source or not is_stale(item.source, stands.source):
            continue
        if isinstance(stands, Vector):
            entries.append(vector_entry(stands, row.position.offset))
        elif isinstance(item, Vector):  # after a late erasure the topic ends with a null value anyway
            entries.append(erasure_entry(stands, row.position.offset))
    if entries:
        _log.warning("late", stage="match", records=len(entries))
    return entries
