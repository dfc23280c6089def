"""The store is gone or went back in time, or the topic is: what is trusted then, and what is built anew."""

import copy
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from structlog.testing import capture_logs

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.adapters.redis_clusters import RedisClusters
from consumer.errors import SettingsError
from tests.match_runs import TOPICS
from tests.match_streams import VECTORS
from tests.matchers import PARTITIONS, SEED, Matcher, World, assert_same, contents, life, redis_store

STEPS = life(SEED)
REFUSED = "snapshot refused"


@pytest.fixture
def new_redis(redis_url: str) -> Iterator[Callable[[], RedisClusters]]:
    """A maker of stores with nothing in them: each under a prefix of its own."""
    made: list[RedisClusters] = []

    def make() -> RedisClusters:
        made.append(redis_store(redis_url, f"lost-{secrets.token_hex(6)}"))
        return made[-1]

    yield make
    for store in made:
        with Redis.from_url(redis_url) as client:
            for key in client.scan_iter(f"{store._prefix}:*", count=1000):
                client.delete(key)
        store.close()


def run_and_stop(world: World, turns: int | None = None) -> Matcher:
    """To the end of the stream, or for some turns; then a clean stop, which leaves snapshots behind."""
    with world.matcher() as matcher:
        while matcher.loop.turn() and turns != 1:
            turns = None if turns is None else turns - 1
        matcher.close()
    return matcher


def start_offsets(matcher: Matcher) -> set[int]:
    return set(matcher.starts.values())


def test_a_snapshot_spares_the_replay(new_redis: Callable[[], RedisClusters], tmp_path: Path) -> None:
    """What the tests below rely on: with its store there, a snapshot is used."""
    world = World(new_redis(), tmp_path, STEPS)
    run_and_stop(world)
    ends = {world.broker.log((VECTORS, number)).end for number in range(PARTITIONS)}
    before = contents(world.store)
    with capture_logs() as logs:
        again = run_and_stop(world)
    assert start_offsets(again) == ends
    assert REFUSED not in [log["event"] for log in logs]
    assert contents(world.store) == before


def test_an_emptied_redis_is_not_filled_in_silence(new_redis: Callable[[], RedisClusters], tmp_path: Path) -> None:
    """Compaction has taken away what the versions and ids that subscribers know were made of."""
    world = World(new_redis(), tmp_path / "state", STEPS)
    run_and_stop(world)
    sent = world.sent(TOPICS.events, TOPICS.clusters, TOPICS.possible)
    world.store = new_redis()
    for _ in range(2):  # also when it is tried again
        with pytest.raises(SettingsError, match=r"its state was lost.*dedup rebuild"):
            run_and_stop(world)
    assert world.sent(TOPICS.events, TOPICS.clusters, TOPICS.possible) == sent


@pytest.mark.parametrize("turns", [1, 4, 7])
def test_a_store_that_went_back_in_time_is_brought_forward(tmp_path: Path, turns: int) -> None:
    """A backup was restored: it is older than the snapshot."""
    undisturbed = World(MemoryClusters(), tmp_path / "undisturbed", STEPS)
    run_and_stop(undisturbed)
    world = World(MemoryClusters(), tmp_path / "state", STEPS)
    with world.matcher() as matcher:
        for _ in range(turns):
            assert matcher.loop.turn()
    backup = copy.deepcopy(world.store)
    run_and_stop(world)

    world.store = backup
    with capture_logs() as logs:
        run_and_stop(world)
    assert REFUSED in [log["event"] for log in logs]
    assert_same(world, undisturbed)


def test_a_topic_made_anew_is_told_from_one_that_grew(new_redis: Callable[[], RedisClusters], tmp_path: Path) -> None:
    world = World(new_redis(), tmp_path / "state", STEPS)
    run_and_stop(world)
    before = contents(world.store)

    anew = World(world.store, tmp_path / "state", STEPS[: len(STEPS) // 2])
    with pytest.raises(
        SettingsError, match=r"deleted and made anew. Encode again.*use another redis\.prefix and kafka\.group"
    ):
        run_and_stop(anew)
    assert contents(world.store) == before
    assert anew.sent(TOPICS.events, TOPICS.clusters, TOPICS.possible) == []

    afresh = World(new_redis(), tmp_path / "state", STEPS)
    run_and_stop(afresh)
    assert_same(afresh, world)
