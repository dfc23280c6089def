"""Every object of every file of values, as the API server of a real cluster sees it; nothing is made."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.cluster.crds import installed
from tests.chart.cluster.kube import Namespace
from tests.chart.render import CI, MINIMAL, rendered
from tests.conftest import provided


@pytest.fixture(scope="module")
def strict(cluster: Namespace) -> Iterator[Namespace]:
    """A namespace of a cluster that knows the custom resources and warns of what `restricted` pods may not have."""
    for _ in provided(installed):
        cluster.kubectl("label", "namespace", cluster.name, "pod-security.kubernetes.io/warn=restricted")
        yield cluster


@pytest.mark.parametrize("values", CI.values(), ids=CI)
def test_the_api_server_takes_every_object(values: Path, strict: Namespace) -> None:
    done = _dry_run(strict, rendered(values))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr


def test_the_api_server_can_refuse(strict: Namespace) -> None:
    done = _dry_run(strict, rendered(MINIMAL).replace("runAsNonRoot: true", "runAsNonRoot: maybe"))
    assert done.returncode != 0
    done = _dry_run(strict, rendered(MINIMAL).replace("runAsNonRoot: true", "runAsNonRoot: false"))
    assert "would violate PodSecurity" in done.stderr


def _dry_run(space: Namespace, manifests: str) -> subprocess.CompletedProcess[str]:
    command = ["kubectl", "--namespace", space.name, "apply", "--dry-run=server", "-f", "-"]
    return subprocess.run(command, input=manifests, capture_output=True, text=True, check=False)
