"""What a record costs where clusters are large: a file of records through both stages, on a Redis of its own, without Kafka.

    python -m benchmarks.clusters --input signups.jsonl [--records 14000] [--profile signup]

Prints milliseconds a record of every 2,048, by the clock and in time of this process on a processor, and as the last line
JSON with those of all.
"""

import argparse
import json
import sys

from pydantic import SecretStr

from benchmarks import given
from consumer import wiring
from consumer.batch import MemoryPipeline, chunks
from consumer.garbage import collect_rarely
from consumer.profile import load_profile
from consumer.settings import load_settings
from loadtest.ceiling.clock import Stopwatch
from tests import services


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=given.file, required=True, help="JSONL of records with an id")
    parser.add_argument("--records", type=given.count, default=14_000, help="about so many of them, from the first")
    parser.add_argument("--profile", default="signup")
    chosen = parser.parse_args()
    profile = load_profile(chosen.profile)
    settings = load_settings(None, {"profile": chosen.profile, "log.level": "error"})
    encoders = wiring.build_encoders(settings, profile)
    with services.redis() as server:
        redis = settings.redis.model_copy(update={"url": SecretStr(server.address)})
        own = settings.model_copy(update={"redis": redis})
        pipeline = MemoryPipeline(own, encoders, wiring.build_store(own, profile))
        collect_rarely()
        done, whole = 0, Stopwatch()
        for chunk in chunks(chosen.input, profile.input, lambda _: None):
            watch = Stopwatch()
            pipeline.feed([message for message, _ in chunk.values()])
            done += len(chunk)
            cost = watch.cost(len(chunk))
            print(f"{done}: {cost.wall / 1000:.2f} ms, {cost.processor / 1000:.2f} on a processor", file=sys.stderr)
            if done >= chosen.records:
                break
        cost = whole.cost(done)
    print(json.dumps({"records": done, "clock_ms": cost.wall / 1000, "processor_ms": cost.processor / 1000}))


if __name__ == "__main__":
    main()
