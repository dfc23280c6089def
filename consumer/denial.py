"""What becomes of a record that was erased and is sent again, where `matching.reingest` is `deny`.

It is counted and its place in the input is logged. It is no dead letter: that would keep the data of one who asked to be
forgotten, and a delivery of many such records would stop the process.
"""

from collections.abc import Sequence

import structlog

from consumer.metrics import METRICS
from consumer.records import Erasure, OutboxEntry
from consumer.rows import Row
from consumer.vectors import erasure_entry

_SHOWN = 10
_log = structlog.get_logger()


def denials(rows: Sequence[Row]) -> list[OutboxEntry]:
    """Note denied rows, and return what takes their vectors out of the vectors topic, which would keep them for good."""
    if not rows:
        return []
    METRICS.denied.inc(len(rows))
    shown = [str(row.item.source) for row in rows[:_SHOWN]]
    _log.warning("denied", stage="match", records=len(rows), positions=shown)
    ends = [Erasure(record, row.item.source, row.item.ingested_ms) for row in rows for record in row.records]
    return [erasure_entry(end, row.position.offset) for end, row in zip(ends, rows, strict=True)]
