"""Stores on Redis for the tests of this folder."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from consumer.adapters.redis_clusters import RedisClusters
from tests.stored import KEY, OpenRedis


@pytest.fixture
def open_redis() -> Iterator[OpenRedis]:
    """Opens stores on a Redis and closes them in the end."""
    with ExitStack() as opened:

        def open_(url: str, prefix: str, *, cluster: bool = False, **options: Any) -> RedisClusters:
            chosen = {"profile": "pro/file", "key": KEY, "erased_ttl_seconds": 60, **options}
            return opened.enter_context(closing(RedisClusters(url, prefix=prefix, cluster=cluster, **chosen)))

        yield open_
