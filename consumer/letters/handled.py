"""Which dead letters of a partition were dealt with: everything before an offset, and some beyond it.

A group commits one offset a partition, and a replay may take letters from the middle. What lies beyond the committed offset
is written as the note that Kafka keeps with a commit: ranges of distances from it, `0,4-17`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

MAX_NOTE_CHARS = 4_000
"""Brokers take notes of 4,096 bytes unless told otherwise (`offset.metadata.max.bytes`)."""


@dataclass(frozen=True, slots=True)
class Handled:
    """Offsets of letters that need no answer any more."""

    before: int = 0
    beyond: frozenset[int] = field(default_factory=frozenset)

    def __contains__(self, offset: int) -> bool:
        return offset < self.before or offset in self.beyond

    def __or__(self, offsets: Collection[int]) -> "Handled":
        return Handled(self.before, self.beyond | {offset for offset in offsets if offset >= self.before})

    def moved_up(self, there: Sequence[int], end: int) -> "Handled":
        """The same, told as shortly as can be, of a partition that holds letters at `there`, and ends at `end`."""
        before = next((offset for offset in sorted(there) if offset not in self), end)
        before = max(before, self.before)
        return Handled(before, frozenset(offset for offset in self.beyond if offset >= before))

    @property
    def note(self) -> str:
        """What lies beyond, for the commit at `before`. May be longer than a broker takes."""
        ranges: list[list[int]] = []
        for distance in sorted(offset - self.before for offset in self.beyond):
            if ranges and distance == ranges[-1][1] + 1:
                ranges[-1][1] = distance
            else:
                ranges.append([distance, distance])
        return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)

    @classmethod
    def read(cls, before: int, note: str) -> "Handled":
        """What a commit tells. A note that is none of ours tells of nothing beyond."""
        beyond: set[int] = set()
        try:
            for part in note.split(",") if note else ():
                first, _, last = part.partition("-")
                beyond.update(range(before + int(first), before + int(last or first) + 1))
        except ValueError:
            return cls(before)
        return cls(before, frozenset(beyond))
