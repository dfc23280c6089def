"""A namespace of the cluster that KUBECONFIG names."""

import os
from collections.abc import Iterator

import pytest

from tests.chart.cluster.kube import Namespace, namespace
from tests.conftest import provided


@pytest.fixture(scope="module")
def cluster(helm: object) -> Iterator[Namespace]:
    """Of this module of tests alone. NO_CLUSTER says why there is none in CI."""
    if reason := os.environ.get("NO_CLUSTER"):
        pytest.skip(reason)
    yield from provided(lambda: namespace("dedup-test"))
