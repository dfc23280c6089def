"""`dedup dlq`: what lies in the dead-letter topics, and sending it back to where it came from.

A replay notes what it has dealt with under a group of its own, `<kafka.group>.<profile>.dlq`, so that no letter is sent
twice. Nor is one that would undo something newer: see `consumer.letters.superseded`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from typing import Final, Self

from consumer.adapters.kafka_commits import Committed, KafkaCommits
from consumer.adapters.kafka_publisher import KafkaPublisher
from consumer.adapters.kafka_reader import KafkaReader, highs
from consumer.errors import RejectedError
from consumer.letters.dead_letters import Choice, Letter, original, read_letter
from consumer.letters.handled import MAX_NOTE_CHARS, Handled
from consumer.letters.superseded import Newer, Overtaken
from consumer.names import dead_letter_topic, read_topics, replay_group
from consumer.ports import ClusterStore
from consumer.profile import Profile, load_profile
from consumer.records import Message, Outgoing, Position
from consumer.rows import is_stale
from consumer.settings import Settings
from consumer.wiring import build_store, require_brokers

_BATCH: Final = 200


@dataclass(frozen=True, slots=True, order=True)
class Found:
    """A letter that is shown, with what else its message holds."""

    rejected_ms: int
    letter: Letter = field(compare=False)
    handled: bool = field(compare=False)
    """It was replayed, or a replay passed it over for something newer."""
    message: Message = field(compare=False)


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in the dead-letter topics."""

    counts: Counter[tuple[str, str]]
    """All letters that are meant, by stage and kind of reason."""
    waiting: int
    """Of these, letters that no replay has dealt with."""
    newest: Sequence[Found]
    """Newest first."""
    foreign: int
    """Messages there that are no letters of ours."""


@dataclass(slots=True)
class Outcome:
    """What a replay did, or would do."""

    replayed: int = 0
    superseded: int = 0
    """Passed over: something newer of the same key was accepted."""
    repeated: int = 0
    """Passed over: the same message is in another letter, or was sent again already."""
    left_out: int = 0
    """Passed over: the message is too large for a letter, and lies where it was rejected."""
    restated: int = 0
    """Newer messages that came meanwhile and were said again behind the older ones."""
    left: int = 0
    """Letters for another run: more holes than a commit can remember."""


class Mailbox:
    """The dead letters of one deployment. A context manager; its calls raise DedupError."""

    def __init__(self, settings: Settings) -> None:
        require_brokers(settings)
        self._settings = settings
        self._profile = load_profile(settings.profile)
        self._up = ExitStack()

    def __enter__(self) -> Self:
        group = replay_group(self._settings, self._profile)
        properties = self._settings.kafka.consumer_properties
        self._commits = self._up.enter_context(KafkaCommits(properties, group))
        self._reader = KafkaReader(properties)
        self._up.callback(self._reader.close)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._up.close()

    # looking

    def look(self, choice: Choice, limit: int) -> Listing:
        """Count the letters that are meant, and keep the newest `limit` of them."""
        counts: Counter[tuple[str, str]] = Counter()
        newest: list[Found] = []
        waiting = foreign = 0
        for topic in map(dead_letter_topic, read_topics(self._settings, self._profile)):
            handled = self._handled(topic)
            for message in self._reader.read(topic, highs(self._reader.ends(topic))):
                try:
                    letter = read_letter(message)
                except RejectedError:
                    foreign += 1
                    continue
                if letter not in choice:
                    continue
                done = letter.position.offset in handled[letter.position.partition]
                counts[letter.stage, letter.kind] += 1
                waiting += not done
                found = Found(letter.rejected_ms, letter, done, message)
                if len(newest) < limit:
                    heappush(newest, found)
                else:
                    heappushpop(newest, found)
        return Listing(counts, waiting, sorted(newest, reverse=True), foreign)

    def _handled(self, topic: str) -> dict[int, Handled]:
        commits = self._commits.of(topic)
        return {number: Handled.read(max(0, c.offset), c.note) for number, c in commits.items()}

    # sending again

    def replay(self, choice: Choice, *, dry_run: bool) -> Outcome:
        """Send the letters that are meant back to their topics, in their order; with `dry_run`, only say what would be."""
        outcome = Outcome()
        for origin in read_topics(self._settings, self._profile):
            topic = dead_letter_topic(origin)
            handled = self._handled(topic)
            done = _Round(self._settings, self._profile, self._reader, origin, outcome).run(choice, handled, dry_run)
            if not dry_run:
                self._commits.commit(topic, {n: Committed(h.before, h.note) for n, h in done.items()})
        return outcome


class _Round:
    """The replay of one dead-letter topic."""

    def __init__(
        self, settings: Settings, profile: Profile, reader: KafkaReader, origin: str, outcome: Outcome
    ) -> None:
        self._settings = settings
        self._profile = profile
        self._reader = reader
        self._topic = dead_letter_topic(origin)
        self._origin = origin
        self._outcome = outcome

    def run(self, choice: Choice, handled: Mapping[int, Handled], dry_run: bool) -> dict[int, Handled]:
        """Send what is to be sent, and return what is handled then, of the partitions where that changed."""
        ends = highs(self._reader.ends(self._topic))
        there, letters, keys = self._collect(ends)
        chosen = [x for x in letters if x in choice and x.position.offset not in handled[x.position.partition]]
        if not chosen:
            return {}
        done = {
            n: _fitting(h, [x.position.offset for x in chosen if x.position.partition == n], there[n], ends[n])
            for n, h in handled.items()
        }
        fits = [x for x in chosen if x.position.offset in done[x.position.partition]]
        self._outcome.left += len(chosen) - len(fits)
        before = highs(self._reader.ends(self._origin))
        sending = self._judge(fits, letters, keys, before)
        self._outcome.replayed += len(sending)
        if sending and not dry_run:
            self._send(sending, ends, keys, before)
        return done

    def _collect(
        self, ends: Mapping[int, int]
    ) -> tuple[dict[int, list[int]], list[Letter], dict[Position, bytes | None]]:
        """Offsets of all messages by partition; the letters, in their order; the key of each. Not what they hold."""
        there: dict[int, list[int]] = {number: [] for number in ends}
        letters: list[Letter] = []
        keys: dict[Position, bytes | None] = {}
        for message in self._reader.read(self._topic, ends):
            there[message.position.partition].append(message.position.offset)
            try:
                letter = read_letter(message)
            except RejectedError:
                continue
            if letter.origin.topic == self._origin:
                letters.append(letter)
                keys[message.position] = message.key
        return there, letters, keys

    def _judge(
        self,
        chosen: Sequence[Letter],
        letters: Sequence[Letter],
        keys: Mapping[Position, bytes | None],
        before: Mapping[int, int],
    ) -> set[Position]:
        """Where those of the chosen letters lie that are to be sent; the others are counted. Their topic is read up to `before`."""
        rejected = {letter.origin for letter in letters}
        newer = Newer((key for x in chosen if (key := keys[x.position]) is not None), rejected)
        since = _since(chosen)
        ends = {n: end for n, end in before.items() if n in since}
        for message in self._reader.read(self._origin, ends, since):
            newer.note(message)
        stored = self._stored([x for x in chosen if keys[x.position]], keys)
        send: set[Position] = set()
        origins: set[Position] = set()
        for letter in chosen:
            if letter.origin in origins or newer.is_replayed(letter):
                self._outcome.repeated += 1
            elif newer.supersedes(letter, keys[letter.position]) or letter.position in stored:
                self._outcome.superseded += 1
            elif not letter.whole:
                self._outcome.left_out += 1
            else:
                send.add(letter.position)
            origins.add(letter.origin)
        return send

    def _stored(self, letters: Sequence[Letter], keys: Mapping[Position, bytes | None]) -> set[Position]:
        """Where the letters lie whose record the store has from something newer, or forgot for something newer.

        Their topic may have lost that message by now: it is kept no longer than the letters.
        """
        if self._origin != self._profile.input or not letters:
            return set()
        ids = {x.position: (keys[x.position] or b"").decode(errors="replace") for x in letters}
        store = build_store(self._settings, self._profile)
        try:
            partitions = len(self._reader.ends(self._profile.vectors_topic))
            sources = _sources(store, partitions, sorted(set(ids.values())))
        finally:
            store.close()
        return {x.position for x in letters if any(is_stale(x.origin, s) for s in sources.get(ids[x.position], ()))}

    def _send(
        self,
        sending: set[Position],
        ends: Mapping[int, int],
        keys: Mapping[Position, bytes | None],
        before: Mapping[int, int],
    ) -> None:
        """Send the messages of letters, and again what came since they were judged: it is newer, and stands in front of them."""
        publisher = KafkaPublisher(self._settings.kafka.producer_properties)
        try:
            batch: list[Outgoing] = []
            for message in self._reader.read(self._topic, ends):
                if message.position in sending:
                    batch.append(original(message, read_letter(message)))
                if len(batch) == _BATCH:
                    publisher.publish(batch)
                    publisher.flush()
                    batch = []
            publisher.publish(batch)
            publisher.flush()
            overtaken = Overtaken((p, key) for p in sending if (key := keys[p]) is not None)
            for message in self._reader.read(self._origin, highs(self._reader.ends(self._origin)), before):
                overtaken.note(message)
            again = [_as_it_was(message) for message in overtaken.messages]
            publisher.publish(again)
            self._outcome.restated += len(again)
        finally:
            publisher.close()


def _since(letters: Sequence[Letter]) -> dict[int, int]:
    """Where the messages of their topic begin that are newer than the first of them."""
    first: dict[int, int] = {}
    for letter in letters:
        number = letter.origin.partition
        first[number] = min(letter.origin.offset + 1, first.get(number, letter.origin.offset + 1))
    return first


def _sources(store: ClusterStore, partitions: int, ids: Sequence[str]) -> dict[str, list[Position]]:
    """Record → the input messages that the scopes have it, or its erasure, from."""
    found: dict[str, list[Position]] = {}
    for scope in (scope for number in range(partitions) for scope in store.scopes(number)):
        known = store.known(scope, ids)
        states = {record_id: state.source for record_id, state in known.records.items()}
        for record_id, source in {**known.erased, **states}.items():
            found.setdefault(record_id, []).append(source)
    return found


def _fitting(handled: Handled, offsets: Sequence[int], there: Sequence[int], end: int) -> Handled:
    """What is handled with as many of some offsets, from the first on, as a commit can remember."""
    taken = len(offsets)
    while True:
        more = (handled | offsets[:taken]).moved_up(there, end)
        if taken == 0 or len(more.note) <= MAX_NOTE_CHARS:
            return more
        taken //= 2


def _as_it_was(message: Message) -> Outgoing:
    position = message.position
    return Outgoing(
        position.topic, message.key, message.value, message.headers, position.partition, message.timestamp_ms
    )
