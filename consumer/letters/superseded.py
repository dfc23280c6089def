"""Whether something newer stands behind a rejected message: sending that one again would undo it."""

from collections.abc import Collection, Iterable

from consumer.letters.dead_letters import Letter, replayed_from
from consumer.records import Message, Position


class Newer:
    """What came to a topic under the keys of rejected messages, after them.

    A message counts as old as what it repeats: one that a replay sent has the place of the one that was rejected. Those that
    were rejected themselves count for nothing. Messages without a key are newer than none.
    """

    def __init__(self, keys: Iterable[bytes], rejected: Collection[Position]) -> None:
        self._keys = set(keys)
        self._rejected = rejected
        self._newest: dict[tuple[int, bytes], int] = {}
        self._replayed: set[Position] = set()

    def note(self, message: Message) -> None:
        """Take in a message of the topic."""
        repeats = replayed_from(message)
        if repeats is not None and repeats.partition == message.position.partition:
            self._replayed.add(repeats)
        if message.key is None or message.key not in self._keys or message.position in self._rejected:
            return
        offset = message.position.offset if repeats is None else repeats.offset
        place = message.position.partition, message.key
        self._newest[place] = max(offset, self._newest.get(place, -1))

    def is_replayed(self, letter: Letter) -> bool:
        """Whether the rejected message was sent again already."""
        return letter.origin in self._replayed

    def supersedes(self, letter: Letter, key: bytes | None) -> bool:
        """Whether something newer was accepted, an erasure included."""
        return key is not None and self._newest.get((letter.origin.partition, key), -1) > letter.origin.offset


class Overtaken:
    """Messages that came while older ones of their keys were being sent again, and so stand before these."""

    def __init__(self, sent: Iterable[tuple[Position, bytes]]) -> None:
        self._keys = {key for _, key in sent}
        self._came: dict[tuple[int, bytes], Message] = {}
        self._behind: dict[tuple[int, bytes], Message] = {}

    def note(self, message: Message) -> None:
        """Take in a message that came since the replay looked; each partition in its order."""
        if message.key is None or message.key not in self._keys:
            return
        place = message.position.partition, message.key
        if replayed_from(message) is None:
            self._came[place] = message
            self._behind.pop(place, None)
        elif place in self._came:
            self._behind[place] = self._came[place]

    @property
    def messages(self) -> list[Message]:
        """Those to be said again."""
        return list(self._behind.values())
