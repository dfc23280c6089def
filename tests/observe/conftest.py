"""The programs of Prometheus, which are needed like any other service: see `tests.conftest`."""

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests.conftest import provided
from tests.observe.prometheus import program_of_prometheus


@pytest.fixture(scope="session")
def promtool() -> Iterator[str]:
    yield from provided(lambda: nullcontext(program_of_prometheus("promtool")))
