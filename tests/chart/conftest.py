"""The programs of the chart's tests, which are needed like any service: see `tests.conftest`."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.chart.render import CI
from tests.chart.tools import tool
from tests.conftest import provided


@pytest.fixture(scope="session")
def helm() -> Iterator[Path]:
    yield from provided(lambda: nullcontext(tool("helm")))


@pytest.fixture(scope="session")
def helm_docs() -> Iterator[Path]:
    yield from provided(lambda: nullcontext(tool("helm-docs")))


@pytest.fixture(scope="session")
def kube_score() -> Iterator[Path]:
    yield from provided(lambda: nullcontext(tool("kube-score")))


@pytest.fixture(params=list(CI.values()), ids=list(CI))
def values(request: pytest.FixtureRequest) -> Path:
    """Each file of values in `ci/`."""
    path: Path = request.param
    return path
