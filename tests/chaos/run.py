"""A run: the stream flows, faults come by a seeded schedule, and of each is written down when, how long, and when it was over."""

import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from tests.chaos.faults import KINDS, Kind, Mend, Planned, schedule
from tests.chaos.flow import Ends, Feeder, Progress
from tests.chaos.world import World

_LOOK_SECONDS = 0.1
_GIVE_UP_SECONDS = 120.0
_ON_TOP_SHARE = 0.3
"""Of faults that do not wait until the one before is over."""


@dataclass(slots=True)
class Fault:
    """What happened. Times are seconds: since the run began, and of waiting."""

    number: int
    kind: str
    struck: str
    at: float
    together: bool
    lasted: float = 0.0
    over_after: float | None = None
    """From its beginning until everything sent before its end was decided and told; None while it is not."""
    on_top: bool = False
    """Another came before it was over."""


@dataclass(slots=True)
class _Open:
    fault: Fault
    began: float
    ends: Ends
    encoded: bool = False


@dataclass(slots=True)
class Watch:
    """A thread that finds out when faults are over."""

    progress: Progress
    ends: Callable[[], Ends]
    """Of what was sent so far."""
    stuck: str = ""
    """Where things stood when `await_all` gave up."""
    _open: list[_Open] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        assert self._thread is not None
        self._thread.join()

    def mended(self, fault: Fault, began: float) -> None:
        with self._lock:
            self._open.append(_Open(fault, began, self.ends()))

    def await_all(self, seconds: float = _GIVE_UP_SECONDS) -> bool:
        """Whether everything was over within that time."""
        deadline = time.monotonic() + seconds
        while self._open:
            if time.monotonic() > deadline:
                self.stuck = self.progress.where()
                return False
            time.sleep(_LOOK_SECONDS / 2)
        return True

    def leave_behind(self) -> None:
        """Another fault comes on top of those that are not over."""
        with self._lock:
            for one in self._open:
                one.fault.on_top = True

    def _run(self) -> None:
        while not self._end.wait(_LOOK_SECONDS):
            with self._lock:
                waiting = list(self._open)
            done = [one for one in waiting if self._is_over(one)]
            for one in done:
                one.fault.over_after = round(time.monotonic() - one.began, 2)
            with self._lock:
                self._open = [one for one in self._open if one not in done]

    def _is_over(self, one: _Open) -> bool:
        one.encoded = one.encoded or self.progress.encoded(one.ends)
        return one.encoded and self.progress.decided()


def wreak(
    world: World,
    feeder: Feeder,
    seed: int,
    faults: int,
    kinds: Sequence[Kind] = KINDS,
    seconds: float = float("inf"),
    tell: Callable[[Fault], None] = lambda _: None,
) -> list[Fault]:
    """Faults by the seed's schedule, until there were so many or the time is up. Returns when all are over, or gave up."""
    chance = random.Random(seed + 1)
    start = time.monotonic()
    done: list[Fault] = []
    with Progress(world.deployment) as progress, Watch(progress, lambda: feeder.ends) as watch:
        for planned in schedule(seed, kinds):
            if len(done) >= faults or time.monotonic() - start > seconds:
                break
            watch.leave_behind()
            found = _strike(world, planned, chance, watch, start, len(done))
            done += found
            for fault in found:
                tell(fault)
            time.sleep(chance.uniform(0, 1.0))
            if chance.random() > _ON_TOP_SHARE and not watch.await_all():
                break
        watch.await_all()
    return done


def _strike(
    world: World, planned: Sequence[Planned], chance: random.Random, watch: Watch, start: float, before: int
) -> list[Fault]:
    """Begin the faults together, and mend each in its time."""
    running: list[tuple[float, Fault, Mend]] = []
    for n, one in enumerate(planned):
        at = time.monotonic()
        struck, mend = one.kind.begin(world, chance)
        fault = Fault(before + n + 1, one.kind.name, struck, round(at - start, 2), len(planned) > 1)
        running.append((at + one.seconds, fault, mend))
    for until, fault, mend in sorted(running, key=lambda each: each[0]):
        time.sleep(max(0.0, until - time.monotonic()))
        _insist(mend)
        began = start + fault.at
        fault.lasted = round(time.monotonic() - began, 2)
        watch.mended(fault, began)
    return [fault for _, fault, _ in running]


def _insist(mend: Mend) -> None:
    """A server may need more than one attempt to start on a machine that has much else to do."""
    for _ in range(2):
        try:
            mend()
        except RuntimeError as error:
            print(error, file=sys.stderr)
        else:
            return
    mend()
