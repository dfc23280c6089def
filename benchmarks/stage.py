"""One stage alone, over messages that wait: what a record costs, and where that goes.

    python -m benchmarks.stage match [--records 10000] [--sample 4096] [--rounds 3] [--flame match.svg]
    python -m benchmarks.stage encode [--sample 16384] [--flame encode.svg]

The match stage runs on a Redis of its own over an index of so many invented people; no Kafka is in it. Each round is over
people who were not there before. Prints microseconds a record, by the clock and in time of this process on a processor, a
line a round, and as the last line JSON with the medians, and what a record takes in Redis. `--flame` records the rounds, and nothing before them, with
py-spy (`pip install py-spy`).
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr
from redis import Redis

from benchmarks import given
from consumer import wiring
from consumer.adapters.no_snapshots import NoSnapshots
from consumer.decode import DEFAULT_SCOPE
from consumer.encode import EncoderSet, EncodeStage
from consumer.garbage import collect_rarely
from consumer.loop import result_of
from consumer.match import MatchStage
from consumer.metrics import METRICS
from consumer.ports import Snapshot
from consumer.profile import load_profile
from consumer.records import Message, Outgoing, Position
from consumer.settings import Settings, load_settings
from loadtest.ceiling.clock import Stopwatch, batches
from loadtest.ceiling.fill import Fill
from loadtest.ceiling.site import records
from tests import services

SEED = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["encode", "match"])
    parser.add_argument("--profile", default="signup")
    parser.add_argument("--records", type=given.count, default=10_000, help="in the index beforehand")
    parser.add_argument("--sample", type=given.count, default=4096, help="messages of a round")
    parser.add_argument("--rounds", type=given.count, default=3)
    parser.add_argument("--flame", type=Path, help="where a flame graph goes")
    chosen = parser.parse_args()
    profile = load_profile(chosen.profile)
    settings = load_settings(None, {"profile": chosen.profile, "models.cache_entries": 0, "log.level": "error"})
    encoders = wiring.build_encoders(settings, profile)
    encoders.warm_up()
    made = [_messages(encoders, n, chosen.sample) for n in range(chosen.rounds + 1)]
    figures: dict[str, object] = {}
    if chosen.stage == "encode":
        costs = _timed(EncodeStage(encoders, 1), made, chosen.flame)
    else:
        with services.redis() as server:
            own = settings.model_copy(
                update={"redis": settings.redis.model_copy(update={"url": SecretStr(server.address)})}
            )
            stage, packed = _matcher(own, encoders, chosen.records, made)
            before = _used_bytes(server.address)
            costs = _timed(stage, packed, chosen.flame)
            decided = sum(map(len, packed))
            used = round((_used_bytes(server.address) - before) / decided)
        found = METRICS.registry.get_sample_value("dedup_changes_total", {"kind": "found"}) or 0
        figures = {
            "index": chosen.records,
            "possible_per_record": round(found / decided, 3),
            "redis_bytes_per_record": used,
        }
    median = [round(statistics.median(cost[i] for cost in costs), 1) for i in (0, 1)]
    print(json.dumps({"stage": chosen.stage, "clock_us": median[0], "processor_us": median[1], **figures}))


def _used_bytes(url: str) -> int:
    with Redis.from_url(url) as client:
        return int(client.info("memory")["used_memory"])


def _messages(encoders: EncoderSet, number: int, count: int) -> list[Message]:
    sent = records(encoders.profile, f"round-{number}", count, SEED + number)
    return _polled(sent, "in", number * count)


def _polled(sent: Sequence[Outgoing], topic: str, start: int) -> list[Message]:
    return [
        Message(Position(topic, 0, start + n), m.key, m.value, m.timestamp_ms or 0, m.headers)
        for n, m in enumerate(sent)
    ]


def _matcher(
    settings: Settings, encoders: EncoderSet, count: int, made: Sequence[Sequence[Message]]
) -> tuple[MatchStage, list[list[Message]]]:
    """The stage over an index of `count` records, and what it is given in each round."""
    fill = Fill(settings, encoders, lambda told: print(told, file=sys.stderr))
    fill.grow(count)
    store = wiring.build_store(settings, encoders.profile)
    fill.rows.tell(store)
    stage = wiring.build_match_stage(settings, encoders, store, _Filled(fill))
    stage.assigned(0, len(fill.rows))
    encode = EncodeStage(encoders, 1)
    packed = []
    start = len(fill.rows)
    for messages in made:
        sent = [out for batch in batches(messages) for out in result_of(encode, batch).outgoing]
        packed.append(_polled(sent, encoders.profile.vectors_topic, start))
        start += len(sent)
    return stage, packed


class _Filled(NoSnapshots):
    """The snapshot of what was filled."""

    def __init__(self, fill: Fill) -> None:
        self._fill = fill

    def load(self, partition: int, fingerprint: str, applied: Mapping[str, int]) -> Snapshot:
        del partition, fingerprint, applied
        return Snapshot(len(self._fill.rows), {DEFAULT_SCOPE: self._fill.index})


def _timed(
    stage: EncodeStage | MatchStage, rounds: Sequence[Sequence[Message]], flame: Path | None
) -> list[tuple[float, float]]:
    """Microseconds a record of each round but the first, by the clock and on a processor."""
    costs: list[tuple[float, float]] = []
    collect_rarely()  # as the service does: what fills an index is more than modules and models
    _turn(stage, rounds[0])
    with _recorded(flame):
        for messages in rounds[1:]:
            watch = Stopwatch()
            _turn(stage, messages)
            cost = watch.cost(len(messages))
            print(f"{cost.wall:.0f} µs a record, {cost.processor:.0f} on a processor", file=sys.stderr)
            costs.append((cost.wall, cost.processor))
    return costs


def _turn(stage: EncodeStage | MatchStage, messages: Sequence[Message]) -> None:
    for batch in batches(messages):
        result_of(stage, batch)
        stage.confirm()
        stage.delivered()


@contextmanager
def _recorded(flame: Path | None) -> Iterator[None]:
    if flame is None:
        yield
        return
    command = ["py-spy", "record", "--rate", "200", "--nonblocking", "--output", str(flame), "--pid", str(os.getpid())]
    with subprocess.Popen(command) as spy:
        time.sleep(2)  # until it is attached
        yield
        spy.send_signal(signal.SIGINT)
        spy.wait()


if __name__ == "__main__":
    main()
