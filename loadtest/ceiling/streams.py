"""The real stages, as the service runs them: each alone over a backlog, then both at once."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from consumer.errors import DedupError
from consumer.metrics import METRICS
from consumer.records import Outgoing
from consumer.service import Service
from consumer.workers import KafkaWorker, encode_worker, match_worker
from loadtest.ceiling.clock import Cost, Stopwatch
from loadtest.ceiling.site import Site
from loadtest.scrape import Key, StepCost, step_costs

_PATIENCE_SECONDS = 900.0


def encode_stream(site: Site, count: int, skip: int) -> Cost:
    """The cost of the encode stage over `count` waiting messages, the first `skip` not counted."""
    return _driven(encode_worker(site.settings, site.encoders, threading.Event()), count, skip)


def match_stream(site: Site, count: int, skip: int) -> tuple[Cost, Sequence[StepCost]]:
    """The same of the match stage, and what its steps took by the service's own metrics."""
    before: dict[Key, float] = {}
    worker = match_worker(site.settings, site.encoders, threading.Event())
    took = _driven(worker, count, skip, lambda: before.update(_metrics()))
    return took, [cost for cost in step_costs(before, _metrics()) if cost.stage == "match"]


def whole_stream(site: Site, messages: Sequence[Outgoing], skip: int) -> Cost:
    """The same of both stages in one process, from the input to the last event."""
    with Service(site.settings, "all") as service:
        _wait(lambda: service.ready, service)
        before = _decided()
        site.send(site.profile.input, messages[:skip])
        _wait(lambda: _decided() - before >= skip, service)
        watch = Stopwatch()
        site.send(site.profile.input, messages[skip:])
        _wait(lambda: _decided() - before >= len(messages), service)
        return watch.cost(len(messages) - skip)


def _driven(worker: KafkaWorker, count: int, skip: int, counted: Callable[[], None] = lambda: None) -> Cost:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    done, counted_from, watch = 0, -1, Stopwatch()
    try:
        while done < count:
            if counted_from < 0 and done >= skip:
                watch, counted_from = Stopwatch(), done
                counted()
            done += worker.loop.advance()
            if time.monotonic() > deadline:
                raise DedupError(f"{done} of {count} records after {_PATIENCE_SECONDS:g} s: the stream stands still")
        worker.loop.settle()
        return watch.cost(done - counted_from)
    finally:
        worker.close()


def _wait(done: Callable[[], bool], service: Service) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not done():
        if service.failure is not None:
            raise service.failure
        if time.monotonic() > deadline:
            raise DedupError(f"nothing more came in {_PATIENCE_SECONDS:g} s: the stream stands still")
        time.sleep(0.005)


def _decided() -> int:
    return int(METRICS.registry.get_sample_value("dedup_records_total", {"stage": "match"}) or 0)


def _metrics() -> Mapping[Key, float]:
    samples = (sample for family in METRICS.registry.collect() for sample in family.samples)
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}
