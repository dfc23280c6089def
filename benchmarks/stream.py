"""A labelled file through the real service on a real Kafka and Redis: scores, speed, latency, and a kill half-way.

    python -m benchmarks.stream RECORDS.jsonl TRUTH.csv --profile signup [--rate 500] [--kill]

Starts a broker and a Redis of its own (see tests/services.py), runs `dedup run` as a process, produces the records, and
scores what a subscriber of the events knows beside what Redis holds. With `--kill` the service is killed (-9) half-way
and started again. The last line is JSON.
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
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from consumer.evaluation import EventView, b_cubed, pairwise
from consumer.profile import load_profile
from consumer.settings import load_settings
from consumer.wiring import build_store
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
                "group.id": "benchmark",
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


def _ms(rfc3339: str) -> float:
    from datetime import datetime  # noqa: PLC0415

    return datetime.fromisoformat(rfc3339).timestamp() * 1000


def start(environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """`dedup run`, ready."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "consumer", "run"], env={**os.environ, **environment}, stdout=file, stderr=file
        )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=1) as answer:
                if answer.status == 200:
                    return process
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    sys.exit(f"the service did not become ready; its log is {log}:\n{log.read_text()[-2000:]}")


def committed(servers: str, group: str, topic: str) -> tuple[int, int]:
    """Sum of committed offsets, and of ends."""
    client = Consumer({"bootstrap.servers": servers, "group.id": group})
    partitions = [TopicPartition(topic, p) for p in client.list_topics(topic, timeout=10).topics[topic].partitions]
    done = sum(max(0, p.offset) for p in client.committed(partitions, timeout=10))
    end = sum(client.get_watermark_offsets(p, timeout=10)[1] for p in partitions)
    client.close()
    return done, end


def wait_until_done(servers: str, profile_name: str, records: int) -> None:
    profile = load_profile(profile_name)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        encoded, produced = committed(servers, f"dedup.{profile.name}.encode", profile.input)
        if produced >= records and encoded >= produced:
            matched, vectors = committed(servers, f"dedup.{profile.name}.match", profile.vectors_topic)
            if matched >= vectors:
                return
        time.sleep(0.2)
    sys.exit("the stream did not come to its end")


def run(arguments: argparse.Namespace, servers: str, redis_url: str, folder: Path) -> dict[str, object]:
    environment = {
        "DEDUP_PROFILE": arguments.profile,
        "DEDUP_KAFKA__BOOTSTRAP_SERVERS": servers,
        "DEDUP_REDIS__URL": redis_url,
        "DEDUP_STATE__DIRECTORY": str(folder / "state"),
        "DEDUP_HTTP__PORT": str(PORT),
        "DEDUP_TOPICS__PARTITIONS": "4",
        "DEDUP_STATE__SNAPSHOT_RECORDS": str(arguments.snapshot_records),
    }
    lines = [line for line in arguments.records.read_bytes().splitlines() if line.strip()]
    if arguments.limit:
        lines = lines[: arguments.limit]
    profile = load_profile(arguments.profile)
    service = start(environment, folder / "service.log")
    subscriber = Subscriber(servers, "duplicate-events")
    subscriber.start()
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 1})
    killed_seconds = None
    began = time.monotonic()
    for n, line in enumerate(lines):
        if arguments.rate:
            time.sleep(max(0.0, began + n / arguments.rate - time.monotonic()))
        producer.produce(profile.input, line, json.loads(line)["id"])
        producer.poll(0)
        if arguments.kill and n == len(lines) // 2:
            producer.flush()
            at = time.monotonic()
            service.send_signal(signal.SIGKILL)
            service.wait()
            service = start(environment, folder / "service.log")
            killed_seconds = round(time.monotonic() - at, 2)
    producer.flush()
    wait_until_done(servers, arguments.profile, len(lines))
    seconds = time.monotonic() - began
    while time.monotonic() - subscriber.last < 1:
        time.sleep(0.1)
    subscriber.stop.set()
    subscriber.join()
    service.send_signal(signal.SIGTERM)
    code = service.wait()
    from_redis = assignments(environment, arguments.profile, [json.loads(line)["id"] for line in lines])
    with arguments.truth.open(newline="") as file:
        truth = {row["id"]: row["cluster_id"] for row in csv.DictReader(file)}
    truth = {r: truth[r] for r in (json.loads(line)["id"] for line in lines)}
    p50, p99 = np.percentile(subscriber.latencies_ms or [0], [50, 99])
    return {
        "records": len(lines),
        "seconds": round(seconds, 1),
        "records_per_second": round(len(lines) / seconds),
        "p50_ms": round(float(p50)),
        "p99_ms": round(float(p99)),
        "events": subscriber.events,
        "repeats": subscriber.repeats,
        "version_gaps": len(subscriber.view.gaps),
        "clusters": len(subscriber.view.clusters),
        "largest": max(map(len, subscriber.view.clusters.values()), default=0),
        "events_equal_redis": subscriber.view.assignments == from_redis,
        "pairwise": asdict(pairwise(truth, subscriber.view.assignments)),
        "b_cubed": asdict(b_cubed(truth, subscriber.view.assignments)),
        "pairwise_redis": asdict(pairwise(truth, from_redis)),
        "b_cubed_redis": asdict(b_cubed(truth, from_redis)),
        "killed_seconds": killed_seconds,
        "exit_code": code,
        "clusters_digest": digest(subscriber.view),
    }


def digest(view: EventView) -> str:
    import hashlib  # noqa: PLC0415

    clusters = sorted((cid, sorted(members)) for cid, members in view.clusters.items())
    return hashlib.blake2b(json.dumps(clusters).encode(), digest_size=8).hexdigest()


def assignments(environment: Mapping[str, str], profile: str, ids: list[str]) -> dict[str, str]:
    """Record → cluster as Redis has it."""
    os.environ.update(environment)
    store = build_store(load_settings(), load_profile(profile))
    found = {record: cid for record in ids if (cid := store.assignment("default", record)) is not None}
    store.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--profile", default="signup")
    parser.add_argument("--rate", type=float, default=0, help="records a second; 0: as fast as it goes")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--snapshot-records", type=int, default=5000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, services.kafka() as broker, services.redis() as redis:
        figures = run(arguments, broker.address, redis.address, Path(folder))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
