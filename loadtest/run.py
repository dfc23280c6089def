"""A whole load test: fill, measure step by step, wait for the last decision, and judge what the events told."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from consumer.adapters import kafka_topics
from consumer.errors import SettingsError
from consumer.evaluation import pairwise
from consumer.profile import Profile, load_profile
from consumer.settings import Settings
from consumer.wiring import require_brokers
from loadtest.at_rest import scores_at_rest
from loadtest.author import Author, shape_of
from loadtest.environment import environment
from loadtest.fleet import Fleet
from loadtest.lag import LagWatch, Sample
from loadtest.measure import step_of
from loadtest.outcome import Memory, Outcome, Quality, Step, highest
from loadtest.reader import Told
from loadtest.schedule import intended_seconds
from loadtest.scrape import MemorySample, Scrape
from loadtest.workload import Phase, Sweep, Workload

Progress = Callable[[str], None]
_FILL_RATE = 2_000.0
"""Fast enough to keep any service busy, and slow enough that its input stays short."""
_SETTLE_SECONDS = 600.0
_MIB = 2**20


def run(
    settings: Settings,
    workload: Workload,
    metrics: Sequence[str],
    seed: int | None,
    progress: Progress,
    *,
    at_rest: bool = False,
) -> Outcome:
    """Send the workload to the cluster of the settings, whose service must be running. `at_rest`: see `scores_at_rest`.

    Raises SettingsError, BrokerError, and DedupError when a process of ours ends.
    """
    require_brokers(settings)
    profile = load_profile(settings.profile)
    shape_of(profile, workload.mix)
    _check_timestamps(settings, profile)
    chosen = next(s for s in (seed, workload.seed, secrets.randbelow(10**6)) if s is not None)
    name = f"load-{secrets.token_hex(4)}"
    with (
        Scrape(metrics) as scrape,
        LagWatch(settings, profile) as lag,
        Fleet(settings, profile, workload, name, chosen) as fleet,
    ):
        tester = _Tester(workload, chosen, lag, fleet, progress)
        tester.fill()
        scrape.begin()
        steps = tester.steps()
        operating = tester.operating(steps)
        costs = scrape.costs() if metrics else []
        told, letters = fleet.told()
    measured = steps if operating is None else [*steps, operating]
    quality = _quality(fleet, told, measured)
    if at_rest and quality is not None:
        progress("the same messages at rest")
        authors = [Author(name, number, chosen, workload, profile) for number in range(workload.generators)]
        quality = replace(quality, at_rest=scores_at_rest(settings, profile, authors, fleet.lengths, fleet.truth))
    return Outcome(
        workload=workload.model_dump(mode="json"),
        seed=chosen,
        run=name,
        profile=profile.name,
        environment=environment(settings, profile),
        settings=settings.model_dump(mode="json"),
        steps=steps,
        sent=fleet.counts,
        events=told.events,
        repeats=told.repeats,
        version_gaps=told.gaps,
        dead_letters=letters,
        quality=quality,
        operating=operating,
        costs=costs,
        memory=_memory(scrape.memory),
        faults=_faults(measured, told, letters, fleet.counts["poison"]),
    )


class _Tester:
    def __init__(self, workload: Workload, seed: int, lag: LagWatch, fleet: Fleet, progress: Progress) -> None:
        self._workload = workload
        self._seed = seed
        self._lag = lag
        self._fleet = fleet
        self._progress = progress

    def fill(self) -> None:
        """Send what is to be there before. Raises SettingsError when the service does not take it."""
        count = self._workload.fill
        if not count:
            return
        self._progress(f"filling: {count} records")
        self._fleet.send(np.arange(count) / _FILL_RATE)
        if not self._lag.drained(max(_SETTLE_SECONDS, self._workload.drain_seconds), self._waiting):
            raise SettingsError(f"fill: the service did not take {count} records in time; lower `fill`")
        self._fleet.arrivals()

    def steps(self) -> list[Step]:
        """Every step, or those up to the first rate that was too much."""
        done: list[Step] = []
        for number, phases in enumerate(self._workload.steps()):
            step = self._measure(phases, self._seed + number)
            done.append(step)
            if step.drained_seconds is None or (self._workload.sweep and step.saturated):
                break
        return done

    def operating(self, steps: Sequence[Step]) -> Step | None:
        """The step at the operating point of a sweep; None where there is none."""
        phase = operating_point(self._workload.sweep, steps)
        return None if phase is None else self._measure([phase], self._seed + len(steps))

    def _measure(self, phases: Sequence[Phase], seed: int) -> Step:
        workload = self._workload
        moments = intended_seconds(phases, workload.arrivals, seed)
        self._progress(
            f"sending {len(moments)} messages: " + ", ".join(f"{p.rate:g}/s for {p.seconds:g} s" for p in phases)
        )
        before = len(self._lag.samples)
        start_ns, sent = self._fleet.send(moments)
        drained = self._lag.drained(workload.drain_seconds, self._waiting)
        drained_ns = time.time_ns() if drained else None
        step = step_of(
            phases,
            workload.warm_up_seconds,
            moments,
            start_ns,
            sent,
            self._fleet.arrivals(),
            self._lag.samples[before:],
            drained_ns,
        )
        self._progress(
            f"{step.intended_rate:g}/s intended, {step.achieved_rate:g}/s achieved; to the event p50 "
            f"{step.events.p50_ms:g} ms, p99 {step.events.p99_ms:g} ms{'; too much: ' * bool(step.saturated)}{step.saturated}"
        )
        return step

    def _waiting(self, sample: Sample) -> None:
        self._progress(f"waiting for the service: {sample.total} messages")


def operating_point(sweep: Sweep | None, steps: Sequence[Step]) -> Phase | None:
    """What is sent behind the steps of a sweep; None where no rate was kept up, or the service still is busy."""
    found = highest(steps)
    if sweep is None or sweep.operating is None or found is None or steps[-1].drained_seconds is None:
        return None
    return Phase(rate=round(sweep.operating.share * found.intended_rate, 1), seconds=sweep.operating.seconds)


def _check_timestamps(settings: Settings, profile: Profile) -> None:
    """Latency is counted from the timestamps that the generators write, so the broker has to leave them."""
    kept = kafka_topics.configuration(settings.kafka.client_properties, profile.input).get("message.timestamp.type")
    if kept != "CreateTime":
        raise SettingsError(
            f"topic {profile.input}: message.timestamp.type is {kept}, and latency could not be counted from the intended "
            "moment; set it to CreateTime"
        )


def _quality(fleet: Fleet, told: Told, steps: Sequence[Step]) -> Quality | None:
    if not fleet.truth or steps[-1].drained_seconds is None:
        return None
    found = told.assignments
    return Quality(len(fleet.truth), len(set(found.values())), pairwise(fleet.truth, found))


def _memory(samples: Sequence[MemorySample]) -> Memory | None:
    if not any(sample.resident_bytes for sample in samples):
        return None
    seconds = [(sample.at_ns - samples[0].at_ns) / 1e9 for sample in samples]
    resident = [sample.resident_bytes / _MIB for sample in samples]
    half = len(samples) // 2
    slope = float(np.polyfit(seconds[half:], resident[half:], 1)[0]) if len(samples) - half > 1 else 0.0
    return Memory(
        seconds=[round(second, 1) for second in seconds],
        resident_mib=[round(size, 1) for size in resident],
        index_records=[sample.index_records for sample in samples],
        growth_mib_per_hour=round(3600 * slope, 1),
    )


def _faults(steps: Sequence[Step], told: Told, letters: int, poison: int) -> list[str]:
    faults = list(dict.fromkeys(fault for step in steps for fault in step.faults))
    if told.gaps:
        faults.append(f"{told.gaps} events are missing: versions of a cluster have gaps")
    if told.repeats:
        faults.append(f"{told.repeats} events came twice")
    if steps[-1].drained_seconds is None:
        faults.append("the service did not catch up in time: raise `drain_seconds`, or lower the rate")
    elif letters != poison:
        faults.append(f"{poison} damaged messages were sent, and {letters} dead letters came")
    return faults
