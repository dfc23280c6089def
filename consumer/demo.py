"""`dedup demo`: the real stages over an embedded broker and a real Redis, fed with a seeded stream of signups."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
import orjson

from consumer.adapters.embedded import EMBEDDED_CLIENT, embedded_broker, embedded_redis
from consumer.adapters.kafka_publisher import KafkaPublisher
from consumer.adapters.kafka_source import KafkaSource
from consumer.errors import DedupError
from consumer.evaluation import EventView, Scores, pairwise
from consumer.metrics import METRICS
from consumer.profile import load_profile
from consumer.records import ClusterEventKind, Outgoing
from consumer.service import Service
from consumer.settings import Settings, load_settings
from consumer.simulate import Signup, signups
from consumer.wiring import topic_specs

_IN_FLIGHT = 64
"""Records sent and not yet decided. It keeps the latency honest, and the embedded broker, which holds 5 MiB a
partition and drops the rest, from losing any."""
_AT_ONCE = {"enable.idempotence": False}
"""A new client that asks for its producer id waits half a second until it asks again, and the first records with it."""
_PATIENCE_SECONDS = 60.0
_EXAMPLES = 3
_EXAMPLE_MEMBERS = 4


@dataclass(slots=True)
class Seen:
    """What the screen shows while the stream runs."""

    sent: int = 0
    decided: int = 0
    events: int = 0
    clusters: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a demo: its figures, and some clusters to look at."""

    records: int
    events: int
    clusters: int
    scores: Scores
    p50_ms: float
    p99_ms: float
    records_per_second: float
    examples: list[Mapping[str, Any]] = field(default_factory=list)
    """Events of found clusters, the most telling ones."""
    values: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Record id → what was sent, for the records of `examples`."""

    def figures(self) -> dict[str, float]:
        """The JSON line."""
        return {
            "records": self.records,
            "events": self.events,
            "clusters": self.clusters,
            "precision": self.scores.precision,
            "recall": self.scores.recall,
            "f1": self.scores.f1,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "records_per_second": self.records_per_second,
        }


class _Subscriber(threading.Thread):
    """Reads the events topic as any subscriber would."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="subscriber", daemon=True)
        self._source = KafkaSource(settings.kafka.consumer_properties, "demo.subscriber", [settings.topics.events])
        self._halt = threading.Event()
        self.view = EventView()
        self.latencies_ms: list[float] = []
        self.events: list[Mapping[str, Any]] = []

    def run(self) -> None:
        while not self._halt.is_set():
            for message in self._source.poll(1000, 0.1):
                event = orjson.loads(message.value or b"{}")
                if self.view.apply(event):
                    self.latencies_ms.append(message.timestamp_ms - _ingested_ms(event))
                    self.events.append(event)
        self._source.close()

    def finish(self) -> None:
        self._halt.set()
        self.join()


@contextmanager
def demo_service(port: int, meanwhile: Callable[[], None]) -> Iterator[tuple[Settings, Service]]:
    """The service of `dedup run --role all` over embedded services, up and ready. `meanwhile` is called as it starts."""
    with tempfile.TemporaryDirectory(prefix="dedup-demo-") as folder:
        plain = load_settings()
        names = [spec.name for spec in topic_specs(plain, load_profile("signup"))]
        with embedded_broker(names) as servers, embedded_redis(Path(folder)) as url:
            settings = load_settings(
                None,
                {
                    "profile": "signup",
                    "kafka.bootstrap_servers": servers,
                    "kafka.consumer": dict(EMBEDDED_CLIENT),
                    "kafka.delivery": "at_least_once",  # this broker does not isolate transactions
                    "redis.url": url,
                    "redis.cluster": False,
                    "topics.create": False,  # this broker makes topics as they are asked for, and cannot be told to
                    "state.directory": Path(folder) / "state",
                    "http.host": "127.0.0.1",
                    "http.port": port,
                },
            )
            with Service(settings, "all") as service:
                _wait(lambda: service.ready, service, meanwhile)
                yield settings, service


def run_demo(settings: Settings, service: Service, records: int, seed: int, show: Callable[[Seen], None]) -> Outcome:
    """Send the stream, wait for the last decision, and score what the events say against what was planted."""
    subscriber = _Subscriber(settings)
    subscriber.start()
    publisher = KafkaPublisher({**settings.kafka.producer_properties, **_AT_ONCE})
    seen = Seen()
    truth: dict[str, int] = {}
    values: dict[str, Mapping[str, object]] = {}
    before = _decided()

    def look() -> None:
        seen.decided = _decided() - before
        seen.events, seen.clusters = len(subscriber.events), len(subscriber.view.clusters)
        show(seen)

    started = time.perf_counter()
    for signup in signups(records, seed):
        truth[signup.id], values[signup.id] = signup.person, signup.value
        publisher.publish([_message(signup)])
        seen.sent += 1
        if seen.sent % 8 == 0:
            look()
            _wait(lambda: seen.sent - (_decided() - before) < _IN_FLIGHT, service, look)  # waits here
    publisher.flush()
    _wait(lambda: _decided() - before >= records, service, look)
    seconds = time.perf_counter() - started
    _wait(lambda: len(subscriber.events) >= _cluster_changes(), service, look)
    publisher.close()
    subscriber.finish()
    return _outcome(subscriber, truth, values, seconds)


def _outcome(
    subscriber: _Subscriber, truth: Mapping[str, int], values: Mapping[str, Mapping[str, object]], seconds: float
) -> Outcome:
    p50, p99 = np.percentile(subscriber.latencies_ms or [0.0], [50, 99])
    joins = [e for e in subscriber.events if e["data"]["evidence"] and e["data"]["size"] <= _EXAMPLE_MEMBERS]
    # the least probable joins that were right to make: they show what the fusion is for
    joins.sort(key=lambda e: float(e["data"]["evidence"][0]["probability"]))
    right = [e for e in joins if len({truth[r] for r in e["data"]["members"]}) == 1]
    examples = right[:: max(1, len(right) // _EXAMPLES)][:_EXAMPLES]
    return Outcome(
        records=len(truth),
        events=len(subscriber.events),
        clusters=len(subscriber.view.clusters),
        scores=pairwise(truth, subscriber.view.assignments),
        p50_ms=round(float(p50), 1),
        p99_ms=round(float(p99), 1),
        records_per_second=round(len(truth) / seconds, 1),
        examples=examples,
        values={r: values[r] for e in examples for r in e["data"]["members"]},
    )


def _message(signup: Signup) -> Outgoing:
    return Outgoing("signups", signup.id.encode(), orjson.dumps(signup.value))


def _ingested_ms(event: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(event["ingestedtime"]).timestamp() * 1000


def _decided() -> int:
    return int(METRICS.registry.get_sample_value("dedup_latency_seconds_count", {"stage": "match"}) or 0)


def _cluster_changes() -> int:
    """Cluster events decided so far, counted where they are decided."""
    kinds = get_args(ClusterEventKind)
    counts = (METRICS.registry.get_sample_value("dedup_changes_total", {"kind": kind}) for kind in kinds)
    return int(sum(count or 0 for count in counts))


def _wait(done: Callable[[], bool], service: Service, meanwhile: Callable[[], None]) -> None:
    """Until done. Raises what the service failed with, or DedupError when nothing happens for a minute."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not done():
        if service.failure is not None:
            raise service.failure
        if time.monotonic() > deadline:
            raise DedupError(f"the stream stood still for {_PATIENCE_SECONDS:.0f} s; DEDUP_LOG__LEVEL=info shows why")
        meanwhile()
        time.sleep(0.01)
