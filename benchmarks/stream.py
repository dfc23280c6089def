"""A labelled file through the real service on a real Kafka and Redis: scores, speed, latency, and a kill half-way.

    python -m benchmarks.stream RECORDS.jsonl TRUTH.csv --profile signup [--rate 500]
    python -m benchmarks.stream RECORDS.jsonl TRUTH.csv --profile signup --kill [--exact]

Starts a broker and a Redis of its own (see tests/services.py), runs `dedup run` as processes, produces the records, and
scores what a subscriber of the events knows beside what Redis holds. With `--kill` two matchers read the same vectors,
each with its own Redis prefix and event topics; one is killed (-9) half-way and started again, and what the two arrive at
is compared. The last line is JSON.
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import numpy as np
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks import given
from consumer.evaluation import EventView, b_cubed, pairwise
from consumer.profile import load_profile
from tests import services

PORT = 19464
PATIENCE_SECONDS = 900


class Subscriber(threading.Thread):
    """Reads cluster events as any subscriber would, and when they came."""

    def __init__(self, servers: str, topic: str) -> None:
        super().__init__(daemon=True)
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": f"benchmark.{topic}",
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
            }
        )
        self._consumer.subscribe([topic])
        self.view = EventView()
        self.latencies_ms: list[float] = []
        self.events = self.repeats = 0
        self.last = time.monotonic()
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            for message in self._consumer.consume(1000, 0.1):
                if message.error() is not None:
                    continue
                event = json.loads(message.value() or b"{}")
                self.last = time.monotonic()
                self.events += 1
                if not self.view.apply(event):
                    self.repeats += 1
                    continue
                self.latencies_ms.append(message.timestamp()[1] - _ms(event["ingestedtime"]))
        self._consumer.close()

    def finish(self) -> None:
        """Stop once no event came for a second."""
        while time.monotonic() - self.last < 1:
            time.sleep(0.1)
        self.stop.set()
        self.join()


def _ms(rfc3339: str) -> float:
    return datetime.fromisoformat(rfc3339).timestamp() * 1000


class Service:
    """A `dedup run` process, with its log."""

    def __init__(self, environment: Mapping[str, str], role: str, folder: Path, port: int) -> None:
        self.environment = {**environment, "DEDUP_HTTP__PORT": str(port)}
        self._role = role
        self._log = folder / f"{port}.log"
        self._port = port
        self.start()

    def start(self) -> None:
        """Start, and return once ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "consumer", "run", "--role", self._role],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=1) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        sys.exit(f"the service did not become ready; the end of its log:\n{self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait()


class Run:
    """One run of the service over a file."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        servers: str,
        redis_url: str,
        folder: Path,
        delivery: str = "exactly_once",
    ) -> None:
        self._arguments = arguments
        self._servers = servers
        self._folder = folder
        self._profile = load_profile(arguments.profile)
        lines = [line for line in arguments.records.read_bytes().splitlines() if line.strip()]
        self._lines = lines[: arguments.limit or None]
        self._ids = [json.loads(line)["id"] for line in self._lines]
        self._environment = {
            "DEDUP_PROFILE": arguments.profile,
            "DEDUP_KAFKA__BOOTSTRAP_SERVERS": servers,
            "DEDUP_REDIS__URL": redis_url,
            "DEDUP_TOPICS__PARTITIONS": "4",
            "DEDUP_KAFKA__DELIVERY": delivery,
            "DEDUP_STATE__DIRECTORY": str(folder / "state"),
            "DEDUP_STATE__SNAPSHOT_RECORDS": "5000",
        }
        if arguments.exact:
            self._environment["DEDUP_INDEX__EXACT_BELOW"] = "1000000"

    def measure(self) -> dict[str, object]:
        """The whole service, undisturbed."""
        service = Service(self._environment, "all", self._folder, PORT)
        subscriber = Subscriber(self._servers, "duplicate-events")
        subscriber.start()
        began = time.monotonic()
        self._produce()
        self._wait("dedup")
        seconds = time.monotonic() - began
        subscriber.finish()
        p50, p99 = np.percentile(subscriber.latencies_ms or [0], [50, 99])
        return {
            "records": len(self._lines),
            "seconds": round(seconds, 1),
            "records_per_second": round(len(self._lines) / seconds),
            "p50_ms": round(float(p50)),
            "p99_ms": round(float(p99)),
            **self._outcome(service, subscriber),
        }

    def measure_kill(self) -> dict[str, object]:
        """An encoder and two matchers; one of them is killed when it has matched half of the records."""
        encoder = Service(self._environment, "encode", self._folder, PORT)
        matchers, subscribers = [], []
        for i, name in enumerate(("undisturbed", "killed"), start=1):
            own = {
                "DEDUP_KAFKA__GROUP": name,
                "DEDUP_REDIS__PREFIX": name,
                "DEDUP_STATE__DIRECTORY": str(self._folder / name),
                **{f"DEDUP_TOPICS__{topic.upper()}": f"{name}.{topic}" for topic in ("events", "clusters", "possible")},
            }
            matchers.append(Service({**self._environment, **own}, "match", self._folder, PORT + i))
            subscribers.append(Subscriber(self._servers, f"{name}.events"))
            subscribers[-1].start()
        self._produce()
        self._wait("killed", share=0.5)
        at = time.monotonic()
        matchers[1].kill()
        matchers[1].start()
        back = time.monotonic() - at
        for name in ("undisturbed", "killed"):
            self._wait(name)
        for subscriber in subscribers:
            subscriber.finish()
        undisturbed, killed = (subscriber.view.assignments for subscriber in subscribers)
        whole = {r: undisturbed.get(r, r) for r in self._ids}
        outcomes = [self._outcome(*pair) for pair in zip(matchers, subscribers, strict=True)]
        encoder.stop()
        return {
            "records": len(self._lines),
            "seconds_until_ready_again": round(back, 2),
            "same_clusters": undisturbed == killed,
            "agreement": asdict(pairwise(whole, killed)),
            "undisturbed": outcomes[0],
            "killed": outcomes[1],
        }

    def _produce(self) -> None:
        producer = Producer({"bootstrap.servers": self._servers, "linger.ms": 1})
        began = time.monotonic()
        for n, (record_id, line) in enumerate(zip(self._ids, self._lines, strict=True)):
            if self._arguments.rate:
                time.sleep(max(0.0, began + n / self._arguments.rate - time.monotonic()))
            while len(producer) > 50_000:
                producer.poll(0.1)
            producer.produce(self._profile.input, line, record_id)
            producer.poll(0)
        producer.flush()

    def _wait(self, group: str, share: float = 1.0) -> None:
        """Until the group's matcher has committed that share of the records."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if self._committed(f"{group}.{self._profile.name}.match", self._profile.vectors_topic) >= share * len(
                self._ids
            ):
                return
            time.sleep(0.2)
        sys.exit("the stream did not come to its end")

    def _committed(self, group: str, topic: str) -> int:
        client = Consumer({"bootstrap.servers": self._servers, "group.id": group})
        partitions = [TopicPartition(topic, p) for p in client.list_topics(topic, timeout=10).topics[topic].partitions]
        done = sum(max(0, p.offset) for p in client.committed(partitions, timeout=10))
        client.close()
        return done

    def _outcome(self, service: Service, subscriber: Subscriber) -> dict[str, object]:
        code = service.stop()
        from_events, from_redis = subscriber.view.assignments, self._from_redis(service.environment)
        with self._arguments.truth.open(newline="") as file:
            all_truth = {row["id"]: row["cluster_id"] for row in csv.DictReader(file)}
        truth = {r: all_truth[r] for r in self._ids}
        return {
            "events": subscriber.events,
            "repeats": subscriber.repeats,
            "version_gaps": len(subscriber.view.gaps),
            "clusters": len(subscriber.view.clusters),
            "largest": max(map(len, subscriber.view.clusters.values()), default=0),
            "pairwise": asdict(pairwise(truth, from_events)),
            "b_cubed": asdict(b_cubed(truth, from_events)),
            "pairwise_redis": asdict(pairwise(truth, from_redis)),
            "b_cubed_redis": asdict(b_cubed(truth, from_redis)),
            "events_equal_redis": from_events == from_redis,
            "exit_code": code,
        }

    def _from_redis(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Record → cluster, as any client can look it up."""
        name = f"{environment.get('DEDUP_REDIS__PREFIX', 'dedup')}:{{{self._profile.name}/default}}:assignments"
        with redis.Redis.from_url(environment["DEDUP_REDIS__URL"], decode_responses=True) as client:
            return dict(client.hgetall(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=given.file)
    parser.add_argument("truth", type=given.file)
    parser.add_argument("--profile", default="signup")
    parser.add_argument("--rate", type=float, default=0, help="records a second; 0: as fast as it goes")
    parser.add_argument("--limit", type=int, default=0, help="only the first so many records")
    parser.add_argument("--kill", action="store_true", help="kill a matcher half-way, beside one that is not")
    parser.add_argument("--exact", action="store_true", help="search exactly, whatever the size")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, services.kafka() as broker, services.redis() as store:
        run = Run(arguments, broker.address, store.address, Path(folder))
        figures = run.measure_kill() if arguments.kill else run.measure()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
