"""What a change leaves to later rows: how much is judged again at once, and the queue of the rest."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Repair:
    """How much is judged again for one row."""

    records: int
    """Clusters next to those that a row touches are judged with them, up to so many records in all."""
    redo_per_row: int
    """So many of the clusters that did not fit are taken up again after each later row."""

    @property
    def redo_per_tick(self) -> int:
        """A tick has nothing else to do."""
        return 50 * self.redo_per_row

    @property
    def edges(self) -> int:
        """What is beside a record with more edges than this is passed over: it would not fit."""
        return max(200, 4 * self.records)

    @property
    def records_queued(self) -> int:
        """Of what did not fit, one row puts no more on the queue than ten take off: a hub has very many beside it."""
        return 10 * self.redo_per_row


class RedoQueue:
    """A working copy of the queue of one scope: records, each once, in the order in which they were put.

    `beginning` is the queue as stored, or as much of it as will be taken.
    """

    def __init__(self, beginning: Iterable[str]) -> None:
        self._waiting = dict.fromkeys(beginning)
        self._put: dict[str, None] = {}
        self._dropped: dict[str, None] = {}

    @property
    def put_last(self) -> list[str]:
        """Records to put at the end, if they are not there, once `dropped` were taken off."""
        return list(self._put)

    @property
    def dropped(self) -> list[str]:
        return list(self._dropped)

    def put(self, record_id: str) -> None:
        """Put a record at the end; one that waits already keeps its place."""
        if record_id not in self._waiting:
            self._waiting[record_id] = self._put[record_id] = None

    def take(self) -> str | None:
        """Take the first off; None when none waits."""
        record_id = next(iter(self._waiting), None)
        if record_id is not None:
            self.drop(record_id)
        return record_id

    def drop(self, record_id: str) -> None:
        """Take a record off, wherever it stands."""
        self._waiting.pop(record_id, None)
        self._put.pop(record_id, None)
        self._dropped[record_id] = None
