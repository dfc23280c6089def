"""Which slot an id is in: a hash table of numbers, for ids that are kept elsewhere. Some ten bytes a record, not a hundred."""

from array import array
from collections.abc import Callable, Sequence

_EMPTY, _LEFT = 0, 2**32 - 1
_PARTS = 1024
_LEAST = 16
"""Places of a part."""


class IdTable:
    """Open addressing with linear probing; `name` tells the id in a slot, which is compared before it is believed.

    It is in many parts, each of which grows by itself: all at once would take a second among a million, in the stream.
    """

    def __init__(self, name: Callable[[int], str], slots: Sequence[int] = ()) -> None:
        self._name = name
        size = _size(len(slots) // _PARTS)
        self._parts = [_Part(size) for _ in range(_PARTS)]
        for slot in slots:
            self.enter(name(slot), slot)

    def find(self, record_id: str) -> int | None:
        """The slot of an id; None when it is not here."""
        digest = hash(record_id)
        part = self._parts[_part(digest)]
        place = part.place(digest, record_id, self._name)
        return None if place is None else part.places[place] - 1

    def enter(self, record_id: str, slot: int) -> None:
        """Take in an id that is not here."""
        digest = hash(record_id)
        number = _part(digest)
        if self._parts[number].is_full():
            self._parts[number] = self._grown(self._parts[number])
        self._parts[number].enter(digest, slot)

    def drop(self, record_id: str) -> int | None:
        """Forget an id; the slot it was in."""
        digest = hash(record_id)
        part = self._parts[_part(digest)]
        place = part.place(digest, record_id, self._name)
        if place is None:
            return None
        slot = part.places[place] - 1
        part.places[place] = _LEFT
        return slot

    def _grown(self, part: "_Part") -> "_Part":
        slots = part.slots()
        grown = _Part(_size(len(slots)))
        for slot in slots:
            grown.enter(hash(self._name(slot)), slot)
        return grown


class _Part:
    """A byte of an id's hash stands beside each slot, so that `name`, which may read a file, is rarely asked in vain."""

    __slots__ = ("places", "tags", "taken")

    def __init__(self, size: int) -> None:
        self.places = array("I", bytes(4 * size))
        self.tags = bytearray(size)
        self.taken = 0

    def is_full(self) -> bool:
        return 3 * self.taken > 2 * len(self.places)

    def slots(self) -> list[int]:
        return [held - 1 for held in self.places if held not in (_EMPTY, _LEFT)]

    def enter(self, digest: int, slot: int) -> None:
        places, last = self.places, len(self.places) - 1
        place = digest & last
        while places[place] not in (_EMPTY, _LEFT):
            place = (place + 1) & last
        self.taken += places[place] == _EMPTY
        places[place] = slot + 1
        self.tags[place] = _tag(digest)

    def place(self, digest: int, record_id: str, name: Callable[[int], str]) -> int | None:
        places, tags, last = self.places, self.tags, len(self.places) - 1
        place, tag = digest & last, _tag(digest)
        while (held := places[place]) != _EMPTY:
            if tags[place] == tag and held != _LEFT and name(held - 1) == record_id:
                return place
            place = (place + 1) & last
        return None


def _size(count: int) -> int:
    """Places for so many ids, and as many to come."""
    size = _LEAST
    while size < 2 * count:
        size *= 2
    return size


def _part(digest: int) -> int:
    """By bits that choose no place."""
    return digest >> 40 & _PARTS - 1


def _tag(digest: int) -> int:
    """Bits that choose neither."""
    return digest >> 55 & 0xFF
