"""Whether a stage grows: its resident memory while it works off the messages of a workload, hundreds of thousands of them.

    python -m benchmarks.growth encode [--workload soak] [--messages 600000]
    python -m benchmarks.growth match [--workload soak] [--messages 600000]

No Kafka is in it; the match stage has a Redis of its own. The messages are made in another process and read from a file,
so that nothing of them counts. Prints the megabytes that are the process's own (`RssAnon`) every 65,536 messages, and as
the last line JSON with all of them.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import msgpack
from pydantic import SecretStr

from benchmarks import given
from benchmarks.restore import resident
from consumer import wiring
from consumer.adapters.no_snapshots import NoSnapshots
from consumer.encode import EncoderSet, EncodeStage
from consumer.loop import result_of
from consumer.match import MatchStage
from consumer.profile import load_profile
from consumer.records import Message, Outgoing, Position
from consumer.settings import load_settings
from loadtest.author import Author
from loadtest.workload import load_workload
from tests import services

BATCH, EVERY = 64, 65_536
NOW_MS = 1_750_000_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["encode", "match"])
    parser.add_argument("--workload", default="soak")
    parser.add_argument("--messages", type=given.count, default=600_000, help="of the input topic")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "messages"
        made = multiprocessing.get_context("spawn").Process(
            target=_write, args=(file, chosen.stage, chosen.workload, chosen.messages)
        )
        made.start()
        made.join()
        encoders = _encoders()
        stage: EncodeStage | MatchStage = EncodeStage(encoders, 1)
        if chosen.stage == "match":
            stage = _matcher(encoders, stack.enter_context(services.redis()).address)
        figures = dict(_grown(stage, _read(file)))
    print(json.dumps({"stage": chosen.stage, "own_mib": figures}))


def _encoders() -> EncoderSet:
    settings = load_settings(None, {"profile": "signup", "log.level": "error"})
    encoders = wiring.build_encoders(settings, load_profile(settings.profile))
    encoders.warm_up()
    return encoders


def _matcher(encoders: EncoderSet, address: str) -> MatchStage:
    settings = load_settings(None, {"profile": "signup", "log.level": "error"})
    redis = settings.redis.model_copy(update={"url": SecretStr(address)})
    settings = settings.model_copy(update={"redis": redis})
    store = wiring.build_store(settings, encoders.profile)
    stage = wiring.build_match_stage(settings, encoders, store, NoSnapshots())
    stage.assigned(0, 0)
    return stage


def _write(file: Path, stage: str, workload: str, count: int) -> None:
    """What the stage is given: messages of the input, or the vectors that come of them."""
    profile = load_profile("signup")
    author = Author("growth", 0, 3, load_workload(workload), profile)
    sent = (Outgoing(profile.input, one.key, one.value) for one in islice(iter(author.__next__, None), count))
    encode = EncodeStage(_encoders(), 1) if stage == "match" else None
    with file.open("wb") as out:
        for batch in _batches(sent, profile.input):
            given: Sequence[Message | Outgoing] = result_of(encode, batch).outgoing if encode else batch
            for one in given:
                out.write(msgpack.packb((one.key, one.value, dict(one.headers))))


def _read(file: Path) -> Iterator[list[Message]]:
    with file.open("rb") as made:
        unpacked = msgpack.Unpacker(made, max_buffer_size=2**31 - 1)
        yield from _batches((Outgoing("given", key, value, headers) for key, value, headers in unpacked), "given")


def _batches(sent: Iterator[Outgoing], topic: str) -> Iterator[list[Message]]:
    offset = 0
    while batch := list(islice(sent, BATCH)):
        yield [Message(Position(topic, 0, offset + n), m.key, m.value, NOW_MS, m.headers) for n, m in enumerate(batch)]
        offset += len(batch)


def _grown(stage: EncodeStage | MatchStage, batches: Iterator[list[Message]]) -> Iterator[tuple[int, int]]:
    """Messages so far → megabytes, now and then."""
    done = 0
    for batch in batches:
        result_of(stage, batch)
        stage.confirm()
        stage.delivered()
        done += len(batch)
        if done % EVERY < BATCH:
            own = resident()["RssAnon"] >> 20
            print(f"{done} messages: {own} MiB", file=sys.stderr, flush=True)
            yield done, own


if __name__ == "__main__":
    main()
