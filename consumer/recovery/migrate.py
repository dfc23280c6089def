"""`dedup migrate`: from one vectors topic to another, whose vectors other models made, keeping the clusters' ids.

The settings are those of the deployment to come: a profile of the same name with a vectors topic of its own, and another
redis.prefix. Its encoders (`dedup run --role encode`) run beside the service in use. Going back is the same with the
settings of before.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgpack

from consumer.adapters import kafka_groups
from consumer.adapters.kafka_publisher import send
from consumer.adapters.kafka_reader import highs
from consumer.errors import SettingsError
from consumer.names import dead_letter_topic, encoders_group, scope_partition
from consumer.records import Message, Outgoing, Position
from consumer.recovery.outlook import Outlook
from consumer.recovery.rebuild import Rebuilt, farewells
from consumer.recovery.restoration import restoration
from consumer.recovery.site import Progress, Site, feed, now_ms
from consumer.recovery.vectors_replay import VectorsReplay
from consumer.settings import Settings
from consumer.vectors import is_word

EXAMPLES = 10
_PAUSE_SECONDS = 0.5


@dataclass(slots=True)
class Prospect:
    """What a switch would change."""

    outlook: Outlook
    missing: int
    """Records that the vectors topic in use has and the new one lacks."""
    missing_examples: list[str]
    behind: int
    """Messages that the new encoders have not read yet."""
    words: int
    """What people said, to be taken along."""
    unreadable: int
    """Messages of the new topic that are of other models."""
    seconds: float = 0.0


@dataclass(slots=True)
class Switched:
    """What a switch did."""

    rebuilt: Rebuilt
    words: int
    missing: int
    missing_examples: list[str] = field(default_factory=list)
    stopped_seconds: float = 0.0
    """From when the matchers were seen to be gone until they may start again."""


def report(settings: Settings, source: str, progress: Progress) -> Prospect:
    """Beside the running service: what the vectors of the new topic would make of the clusters. Raises DedupError."""
    started = time.monotonic()
    with Site(settings) as site:
        _require_other(site, source)
        old = _Old(site, source, progress)
        behind, ends = old.behind(), highs(site.reader.ends(site.topic))
        outlook, alive, unreadable = Outlook(), set[str](), 0
        told, _ = site.told(progress)
        for number in ends:
            replay = site.replay(number)
            feed(site, replay, ends[number], progress)
            replay.feed(old.spoken(number, len(ends), replay.offset))
            made = replay.finish(replay.offset)
            unreadable += made.rejected
            for scope, contents in made.scopes.items():
                now = {r: cid for cid, c in told.of(scope).items() for r in c.members}
                outlook.add(scope, now, contents.assignments, contents.records)
                alive |= contents.records.keys()
        missing = sorted(old.records - alive)
    seconds = round(time.monotonic() - started, 3)
    return Prospect(outlook, len(missing), missing[:EXAMPLES], behind, len(old.words), unreadable, seconds)


def switch(
    settings: Settings, source: str, *, replace: bool, drop_missing: bool, wait_seconds: float, progress: Progress
) -> Switched:
    """Fill the new redis.prefix, so that new matchers go on where those in use stopped. Raises DedupError.

    What can be done while they run is done before they have to stop; then they are waited for, `wait_seconds` at most.
    """
    with Site(settings) as site:
        _require_other(site, source)
        site.require_room(replace=replace)
        _await(
            lambda: not _Old.lag(site), wait_seconds, lambda: f"the new encoders are {_Old.lag(site)} messages behind"
        )
        replays = [site.replay(number) for number in site.reader.ends(site.topic)]
        _catch_up(site, replays, progress)
        old = _Old(site, source, progress)
        missing = sorted(old.records - {r for replay in replays for r in replay.records()})
        if missing and not drop_missing:
            raise SettingsError(_advice(missing, site, source))
        progress("stop the matchers in use now", 0, 1)
        _await(lambda: not site.is_active(), wait_seconds, lambda: f"the matchers of group {site.group} still run")
        stopped = time.monotonic()
        # a transaction that a matcher left open: the words in it count, or never will
        kafka_groups.committed(settings.kafka.client_properties, site.group, source)
        old = _Old(site, source, progress)
        _await(
            lambda: not _Old.lag(site), wait_seconds, lambda: f"the new encoders are {_Old.lag(site)} messages behind"
        )
        send(settings.kafka.producer_properties, old.messages(len(replays)))
        _catch_up(site, replays, progress)
        rebuilt = _fill(site, replays, drop_missing=drop_missing, progress=progress)
    return Switched(
        rebuilt, len(old.words), len(missing), missing[:EXAMPLES], stopped_seconds=round(time.monotonic() - stopped, 3)
    )


def _fill(site: Site, replays: list[VectorsReplay], *, drop_missing: bool, progress: Progress) -> Rebuilt:
    """What `dedup rebuild` does, with all of the topic as decided."""
    started = time.monotonic()
    told, whole = site.told(progress)
    rebuilt, lost = Rebuilt(new_generation=not whole), list[Outgoing]()
    identity = site.identity(len(replays))
    site.inventory.begin(now_ms())
    site.inventory.wipe()
    for replay in replays:
        made = restoration(identity, replay.finish(replay.offset), told)
        made.write(site.store, now_ms())
        site.save_indexes(made)
        rebuilt.add(made)
        lost += farewells(site.topic, made)
    site.commit({replay.partition: replay.offset for replay in replays})
    if drop_missing and lost:
        send(site.settings.kafka.producer_properties, lost)
        rebuilt.dropped = True
    site.inventory.finish(None if whole else f"{now_ms()}")
    rebuilt.seconds = round(time.monotonic() - started, 3)
    return rebuilt


class _Old:
    """The vectors topic in use: which records it has, and what people said."""

    def __init__(self, site: Site, topic: str, progress: Progress) -> None:
        self._site = site
        self.records: set[str] = set()
        self.words: dict[bytes, Message] = {}
        """The last on each pair, null values among them."""
        ends = highs(site.reader.ends(topic))
        for count, message in enumerate(site.reader.read(topic, ends)):
            if count % 1000 == 0:
                progress(f"reading {topic}", count, sum(ends.values()))
            self._take(message)

    def behind(self) -> int:
        return self.lag(self._site)

    @staticmethod
    def lag(site: Site) -> int:
        """Messages of the input and of feedback that the new encoders have not read."""
        properties = site.settings.kafka.client_properties
        group = encoders_group(site.settings, site.profile)
        waiting = 0
        for topic in (site.profile.input, site.settings.topics.feedback):
            done = kafka_groups.committed(properties, group, topic)
            for number, (low, high) in site.reader.ends(topic).items():
                waiting += max(0, high - max(low, done.get(number, 0)))
        return waiting

    def messages(self, partitions: int) -> list[Outgoing]:
        """The words, for the new topic, each where its scope lives there."""
        topic = self._site.topic
        return [
            Outgoing(topic, key, m.value, m.headers, scope_partition(_scope_of(key), partitions), m.timestamp_ms)
            for key, m in self.words.items()
        ]

    def spoken(self, number: int, partitions: int, offset: int) -> Iterator[Message]:
        """The words as if they stood in a partition of the new topic from an offset on."""
        for message in self.messages(partitions):
            if message.partition == number:
                position = Position(message.topic, number, offset)
                yield Message(position, message.key, message.value, message.timestamp_ms or 0, message.headers)
                offset += 1

    def _take(self, message: Message) -> None:
        if message.key is None:
            return
        if is_word(message.key):
            self.words[message.key] = message
        elif message.value is None:
            self.records.discard(message.key.decode(errors="replace"))
        else:
            self.records.add(message.key.decode(errors="replace"))


def _scope_of(key: bytes) -> str:
    scope, _, _ = msgpack.unpackb(key[1:])
    return str(scope)


def _require_other(site: Site, source: str) -> None:
    if source == site.topic:
        raise SettingsError(
            f"--from {source} is the vectors topic of the profile itself: give the settings of the deployment to come, whose "
            "profile names another topic in `vectors`, and with --from the topic in use"
        )


def _advice(missing: list[str], site: Site, source: str) -> str:
    return (
        f"{len(missing)} records that {source} has are not in {site.topic} ({', '.join(missing[:EXAMPLES])}…): "
        f"{site.profile.input} does not hold them any more, or they were rejected (see {dead_letter_topic(site.profile.input)}). Send "
        "them to it again, or say --drop-missing: they are forgotten then, and leave their clusters."
    )


def _catch_up(site: Site, replays: list[VectorsReplay], progress: Progress) -> None:
    ends = highs(site.reader.ends(site.topic))
    for replay in replays:
        feed(site, replay, ends[replay.partition], progress)


def _await(condition: Callable[[], bool], seconds: float, why: Callable[[], str]) -> None:
    """Raise SettingsError when it is not so in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SettingsError(f"{why()}; waited for {seconds:g} s, nothing was changed")
        time.sleep(_PAUSE_SECONDS)
