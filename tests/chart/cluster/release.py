"""The chart as a release in a namespace of its own, with a Kafka, a Redis and a stream beside it."""

import json
import string
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chart.build_images import NEXT, SERVICE
from tests.chart.cluster.kube import Namespace, wait_until
from tests.chart.render import CHART
from tests.chart.tools import tool

ENCODER, MATCHER = "deployment/dedup-dedup-consumer-encoder", "statefulset/dedup-dedup-consumer-matcher"
ENCODERS, MATCHERS = "encoder", "matcher"
OURS = "app.kubernetes.io/name=dedup-consumer"
NEXT_TAG = NEXT.partition(":")[2]
_PROBE_SECONDS = 7.0
_HERE = Path(__file__).parent
_SECRETS: Mapping[str, tuple[str, str]] = {
    "dedup-redis": ("url", "redis://redis:6379/0"),
    "dedup-privacy": ("key", "a key for this test alone"),
}


class HelmError(RuntimeError):
    """What `helm` said when it failed."""


class Release:
    """The release `dedup` of the chart."""

    def __init__(self, space: Namespace) -> None:
        self.space = space

    def install_services(self) -> None:
        """Kafka, Redis, and the secrets that the chart is told of."""
        for name, (key, value) in _SECRETS.items():
            self.space.kubectl("create", "secret", "generic", name, f"--from-literal={key}={value}")
        self.space.apply((_HERE / "services.yaml").read_text())
        self.space.rolled_out("statefulset/kafka", "statefulset/redis")

    def install(self, *sets: str) -> None:
        """Also an upgrade. Returns once all is rolled out; `sets` are `key=value` beside values.yaml."""
        servers = f"config.kafka.bootstrap_servers=kafka.{self.space.name}.svc:9092"
        settings = [argument for one in (servers, *sets) for argument in ("--set", one)]
        values = ["--values", str(_HERE / "values.yaml"), *settings]
        self.helm("upgrade", "--install", "dedup", str(CHART), *values, "--wait", "--timeout", "5m")

    def helm(self, *arguments: str) -> str:
        """Standard output. Raises HelmError."""
        done = subprocess.run(
            [tool("helm"), "--namespace", self.space.name, *arguments],
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        if done.returncode != 0:
            raise HelmError(f"helm {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def rolled_out(self) -> None:
        """Once it is, and every pod has said for longer than a period of its probe that it is ready."""
        self.space.rolled_out(ENCODER, MATCHER)
        since = [time.monotonic()]

        def calm() -> bool:
            if not all(_is_ready(pod) for pod in self.pods(ENCODERS, MATCHERS)):
                since[0] = time.monotonic()
            return time.monotonic() - since[0] > _PROBE_SECONDS

        wait_until(calm, "every pod ready")

    def pods(self, *components: str) -> Sequence[Any]:
        return self.space.pods(f"{OURS},app.kubernetes.io/component in ({','.join(components)})")


def _is_ready(pod: Any) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


class Stream:
    """The pod that sends signups, reads events, and judges them at the end."""

    def __init__(self, space: Namespace) -> None:
        self._space = space

    def start(self, per_second: float) -> None:
        self._space.kubectl("create", "configmap", "driver", f"--from-file={_HERE / 'driver.py'}")
        manifest = string.Template((_HERE / "driver.yaml").read_text())
        self._space.apply(manifest.substitute(PER_SECOND=per_second, IMAGE=SERVICE))
        self._space.kubectl("wait", "--for=condition=Ready", "pod/driver", "--timeout=120s")

    def mark(self, name: str) -> None:
        """What is sent from now on belongs to this name."""
        self._space.kubectl("exec", "driver", "--", "python", "/driver/driver.py", "mark", name)

    def finish(self) -> dict[str, Any]:
        """End the stream; what became of it, as `driver.judged` says."""
        self.mark("end")
        wait_until(self._ended, "the end of the stream's pod", 900)
        log = self._space.kubectl("logs", "driver")
        assert self._phase() == "Succeeded", log[-3000:]
        judged: dict[str, Any] = json.loads(log.splitlines()[-1])
        return judged

    def _ended(self) -> bool:
        return self._phase() in {"Succeeded", "Failed"}

    def _phase(self) -> str:
        phase: str = self._space.get("pod", "driver")["status"]["phase"]
        return phase
