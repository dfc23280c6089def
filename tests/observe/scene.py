"""A deployment that is watched by a Prometheus, and in which an alert is provoked."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.deployment import DAY, Deployment, Process, wait_until
from tests.observe.prometheus import Prometheus
from tests.services import Server

SILENT_SECONDS = 10.0
FIRING_SECONDS = 90.0


@dataclass(slots=True)
class Scene:
    """Where one alert is provoked. `redis` may be stopped, and runs again afterwards."""

    alert: str
    prometheus: Prometheus
    redis: Server
    deployment: Deployment
    seconds: float = field(init=False)
    """From the provocation until the alert fired."""

    def start(self, role: str = "all", *, ready: bool = True, **environment: str) -> Process:
        """A process of the deployment, which Prometheus has reached."""
        process = self.deployment.start(role, **environment)
        if ready:
            process.wait_ready()
        self.prometheus.watch(self.deployment.name, process.port)
        instance = f'up{{job="{self.deployment.name}", instance="127.0.0.1:{process.port}"}} == 1'
        wait_until(lambda: bool(self.prometheus.ask(instance)), "Prometheus reaches the process")
        return process

    @contextmanager
    def provoked(self) -> Iterator[None]:
        """Silent before what is done inside, firing after it."""
        wait_until(lambda: not self.fires(), f"{self.alert} is silent before it is provoked", SILENT_SECONDS)
        began = time.monotonic()
        yield
        wait_until(self.fires, f"{self.alert} fires", FIRING_SECONDS)
        self.seconds = time.monotonic() - began

    def fires(self) -> bool:
        """Whether it fires for this deployment; or at all, where it is about none."""
        jobs = [found["labels"].get("job", self.deployment.name) for found in self.prometheus.firing(self.alert)]
        return self.deployment.name in jobs

    def send(self, prefix: str, names: Sequence[str], **fields: Any) -> None:
        """Records of persons, with times of now."""
        for n, name in enumerate(names):
            person = {"name": name, "city": "Wien", **DAY, **fields}
            self.deployment.send(f"{prefix}-{n}", person, int(time.time() * 1000))
        self.deployment.flush()

    def passes(self, seconds: float) -> None:
        """Time goes by, so that what was before leaves the windows of the rules."""
        time.sleep(seconds)


def strangers(count: int, start: int = 0) -> list[str]:
    """Names that have nothing in common."""
    letters = "abcdefghijklmnopqrstuvwxyz"

    def word(seed: int) -> str:
        digits = []
        for _ in range(9):
            seed = (seed * 1_103_515_245 + 12_345) % 2**31
            digits.append(letters[seed // 65_536 % 26])
        return "".join(digits).title()

    return [f"{word(2 * n + 1)} {word(7 * n + 5)}" for n in range(start, start + count)]
