"""What goes wrong in a run: kinds of faults as data, and the schedule that a seed makes of them."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.proxy import Link
from tests.chaos.world import ENCODERS, GUEST, MATCHERS, World

Mend = Callable[[], None]
Begin = Callable[[World, random.Random], tuple[str, Mend]]
"""Starts a fault: what it struck, and what ends it."""

_DELAYS_SECONDS = (0.02, 0.05, 0.1, 0.2)
_LONGEST_SESSION = (3.5, 6.0)
"""Past the session timeout of 3 s, so that the group gives away what the one that sleeps held."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault. It lasts between the two ends of `seconds` before it is mended."""

    name: str
    weight: int
    seconds: tuple[float, float]
    begin: Begin
    takes: str
    """What it needs for itself while it lasts: two faults that take the same are not begun together."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault of a schedule."""

    kind: Kind
    seconds: float


def _kill(names: Sequence[str]) -> Begin:
    def begin(world: World, chance: random.Random) -> tuple[str, Mend]:
        slot = world.slots[chance.choice(names)]
        slot.kill()
        return slot.name, slot.start

    return begin


def _pause(names: Sequence[str]) -> Begin:
    def begin(world: World, chance: random.Random) -> tuple[str, Mend]:
        slot = world.slots[chance.choice(names)]
        slot.pause()
        return slot.name, slot.resume

    return begin


def _on_links(names: Sequence[str], what: str) -> Begin:
    """All links of one process to one service."""

    def begin(world: World, chance: random.Random) -> tuple[str, Mend]:
        name = chance.choice(names)
        links, slow = world.links(name), chance.choice(_DELAYS_SECONDS)
        done: Callable[[Link], None] = {
            "hold": lambda link: link.hold(),
            "cut": lambda link: link.cut(),
            "delay": lambda link: link.delay(slow),
        }[what]
        for link in links:
            done(link)

        def mend() -> None:
            for link in links:
                link.restore()

        return f"{name} by {slow * 1000:.0f} ms" if what == "delay" else name, mend

    return begin


def _restart(names: Sequence[str]) -> Begin:
    def begin(world: World, chance: random.Random) -> tuple[str, Mend]:
        slot = world.slots[chance.choice(names)]
        slot.stop()
        return slot.name, slot.start

    return begin


def _guest(world: World, chance: random.Random) -> tuple[str, Mend]:
    slot = world.slots[GUEST]
    slot.start()
    return slot.name, chance.choice([slot.stop, slot.kill])


def _kill_broker(world: World, chance: random.Random) -> tuple[str, Mend]:
    number = chance.randrange(len(world.kafka.brokers))
    broker = world.kafka.brokers[number]
    broker.kill()
    return f"broker {number + 1}", broker.start


def _pause_broker(world: World, chance: random.Random) -> tuple[str, Mend]:
    number = chance.randrange(len(world.kafka.brokers))
    broker = world.kafka.brokers[number]
    broker.pause()
    return f"broker {number + 1}", broker.resume


def _kill_redis(world: World, _: random.Random) -> tuple[str, Mend]:
    """Shorter than Sentinel's patience: the same node comes back with what it had."""
    address = world.redis.primary()
    world.redis.nodes[address].kill()
    return "primary", _redis_again(world, address)


def _pause_redis(world: World, _: random.Random) -> tuple[str, Mend]:
    node = world.redis.nodes[world.redis.primary()]
    node.pause()

    def mend() -> None:
        node.resume()
        world.redis.follow()

    return "primary", mend


def _fail_over(world: World, _: random.Random) -> tuple[str, Mend]:
    """The primary dies; Sentinel promotes the replica; later the dead node comes back as a replica."""
    lost = world.redis.primary()
    world.redis.nodes[lost].kill()
    taken = world.redis.await_successor(lost)
    return "primary" if taken else "primary, nobody took over", _redis_again(world, lost)


def _fail_over_behind(world: World, chance: random.Random) -> tuple[str, Mend]:
    """The same, with a replica that heard nothing for a while: what the primary acknowledged since is lost."""
    world.redis.deafen()
    time.sleep(chance.uniform(0.5, 1.5))
    lost = world.redis.primary()
    world.redis.nodes[lost].kill()
    taken = world.redis.await_successor(lost)
    return f"primary, {'replica behind' if taken else 'nobody took over'}", _redis_again(world, lost)


def _redis_again(world: World, address: str) -> Mend:
    def mend() -> None:
        world.redis.nodes[address].start()
        world.redis.follow()

    return mend


_TO_KAFKA = [f"{who}/kafka" for who in (*ENCODERS, *MATCHERS)]
_TO_REDIS = [f"{who}/redis" for who in MATCHERS]

KINDS = (
    Kind("encoder killed", 10, (0.2, 3.0), _kill(ENCODERS), "encoder"),
    Kind("matcher killed", 14, (0.2, 3.0), _kill(MATCHERS), "matcher"),
    Kind("encoder restarted in order", 2, (0.1, 1.0), _restart(ENCODERS), "encoder"),
    Kind("matcher restarted in order", 4, (0.1, 1.0), _restart(MATCHERS), "matcher"),
    Kind("matcher joins, and goes", 4, (2.0, 5.0), _guest, "guest"),
    Kind("encoder asleep past its session", 6, _LONGEST_SESSION, _pause(ENCODERS), "encoder"),
    Kind("matcher asleep past its session", 10, _LONGEST_SESSION, _pause(MATCHERS), "matcher"),
    Kind("broker killed", 10, (0.2, 3.0), _kill_broker, "broker"),
    Kind("broker asleep", 4, (1.0, 5.0), _pause_broker, "broker"),
    Kind("Redis killed", 10, (0.1, 0.6), _kill_redis, "redis"),
    Kind("Redis asleep", 4, (0.5, 1.2), _pause_redis, "redis"),
    Kind("Redis failover", 6, (0.1, 1.0), _fail_over, "redis"),
    Kind("Redis failover, writes lost", 3, (0.1, 1.0), _fail_over_behind, "redis"),
    Kind("no network to Kafka", 8, (0.5, 6.0), _on_links(_TO_KAFKA, "hold"), "network"),
    Kind("no network to Redis", 6, (0.5, 5.0), _on_links(_TO_REDIS, "hold"), "network"),
    Kind("connections to Kafka cut", 6, (0.2, 4.0), _on_links(_TO_KAFKA, "cut"), "network"),
    Kind("connections to Redis cut", 6, (0.2, 4.0), _on_links(_TO_REDIS, "cut"), "network"),
    Kind("slow network to Kafka", 4, (1.0, 5.0), _on_links(_TO_KAFKA, "delay"), "network"),
    Kind("slow network to Redis", 4, (1.0, 5.0), _on_links(_TO_REDIS, "delay"), "network"),
)


def schedule(seed: int, kinds: Sequence[Kind] = KINDS) -> Iterator[list[Planned]]:
    """Without end: mostly one fault, one time in four two that begin together. Each kind comes once before any by weight."""
    chance = random.Random(seed)
    first = list(kinds)
    chance.shuffle(first)
    while True:
        kind = first.pop() if first else chance.choices(kinds, [k.weight for k in kinds])[0]
        found = [kind]
        others = [k for k in kinds if k.takes != kind.takes]
        if chance.random() < 1 / 4 and others:
            found.append(chance.choices(others, [k.weight for k in others])[0])
        yield [Planned(k, chance.uniform(*k.seconds)) for k in found]
