"""A namespace of whatever cluster KUBECONFIG names, by `kubectl`. It is removed at the end; nothing outside is touched."""

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.services import MissingServiceError

_CALL_SECONDS = 300.0


class KubectlError(RuntimeError):
    """What `kubectl` said when it refused."""


class Namespace:
    """`kubectl` in one namespace."""

    def __init__(self, name: str) -> None:
        self.name = name

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """Standard output. Raises KubectlError with standard error."""
        done = subprocess.run(
            ["kubectl", "--namespace", self.name, *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=_CALL_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, manifests: str) -> None:
        self.kubectl("apply", "-f", "-", given=manifests)

    def get(self, *what: str) -> Any:
        return json.loads(self.kubectl("get", *what, "-o", "json"))

    def pods(self, selector: str) -> list[Any]:
        """Those that are not on their way out."""
        found = self.get("pods", "-l", selector)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def rolled_out(self, *what: str, seconds: int = 240) -> None:
        for one in what:
            self.kubectl("rollout", "status", one, f"--timeout={seconds}s")

    def evict(self, pod: str) -> bool:
        """Whether the disruption budgets allowed it."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": self.name}}
        try:
            path = f"/api/v1/namespaces/{self.name}/pods/{pod}/eviction"
            self.kubectl("create", "--raw", path, "-f", "-", given=json.dumps(body))
        except KubectlError as error:
            if "disruption budget" not in str(error):
                raise
            return False
        return True


@contextmanager
def namespace(prefix: str) -> Iterator[Namespace]:
    """A new one, under the Pod Security standard `restricted`. Raises MissingServiceError where no cluster is named."""
    if not os.environ.get("KUBECONFIG"):
        raise MissingServiceError("KUBECONFIG names no Kubernetes cluster; set it to run the tests of the chart on one")
    if shutil.which("kubectl") is None:
        raise MissingServiceError("kubectl is not on the PATH")
    made = Namespace(f"{prefix}-{secrets.token_hex(3)}")
    made.kubectl("create", "namespace", made.name)
    try:
        made.kubectl("label", "namespace", made.name, "pod-security.kubernetes.io/enforce=restricted")
        yield made
    finally:
        made.kubectl("delete", "namespace", made.name, "--wait=false")


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.5)
