"""Which slot an id is in: a hash table of numbers, for ids that are kept elsewhere. Some ten bytes a record, not a hundred."""

from array import array
from collections.abc import Callable, Iterable

_EMPTY, _LEFT = 0, 2**32 - 1
_LEAST = 1024


class IdTable:
    """Open addressing with linear probing; `name` tells the id in a slot, which is compared before it is believed.

    A byte of the id's hash stands beside each slot, so that `name`, which may read a file, is rarely asked in vain.
    """

    def __init__(self, name: Callable[[int], str], slots: Iterable[int] = ()) -> None:
        self._name = name
        self._fill(list(slots))

    def _fill(self, slots: list[int]) -> None:
        size = _LEAST
        while size < 2 * len(slots):
            size *= 2
        self._places = array("I", bytes(4 * size))
        self._tags = bytearray(size)
        self._taken = 0
        for slot in slots:
            self.enter(self._name(slot), slot)

    def find(self, record_id: str) -> int | None:
        """The slot of an id; None when it is not here."""
        place = self._place(record_id)
        return None if place is None else self._places[place] - 1

    def enter(self, record_id: str, slot: int) -> None:
        """Take in an id that is not here."""
        if 3 * self._taken > 2 * len(self._places):
            self._fill([held - 1 for held in self._places if held not in (_EMPTY, _LEFT)])
        places, last = self._places, len(self._places) - 1
        digest = hash(record_id)
        place = digest & last
        while places[place] not in (_EMPTY, _LEFT):
            place = (place + 1) & last
        self._taken += places[place] == _EMPTY
        places[place] = slot + 1
        self._tags[place] = _tag(digest)

    def drop(self, record_id: str) -> int | None:
        """Forget an id; the slot it was in."""
        place = self._place(record_id)
        if place is None:
            return None
        slot = self._places[place] - 1
        self._places[place] = _LEFT
        return slot

    def _place(self, record_id: str) -> int | None:
        places, tags, last = self._places, self._tags, len(self._places) - 1
        digest = hash(record_id)
        place, tag = digest & last, _tag(digest)
        while (held := places[place]) != _EMPTY:
            if tags[place] == tag and held != _LEFT and self._name(held - 1) == record_id:
                return place
            place = (place + 1) & last
        return None


def _tag(digest: int) -> int:
    """Bits that do not choose the place."""
    return digest >> 55 & 0xFF
