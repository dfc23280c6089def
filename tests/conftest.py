"""Fixtures for the services that tests need. None of them is ever flushed: what a test writes carries a `unique` name.

A server named in the environment is used as it is; otherwise one is started for the session. Where neither can be had,
a test is skipped on a laptop and fails in CI, where every service has to be there.
"""

import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

import pytest
import structlog
from hypothesis import settings

from tests import secure_services, services

_Running = TypeVar("_Running")

settings.register_profile("repository", deadline=None, print_blob=True)  # timing on shared cores fails nothing
settings.load_profile("repository")


@pytest.fixture(scope="session")
def kafka_servers() -> Iterator[str]:
    """Bootstrap servers of a real Kafka; KAFKA_BOOTSTRAP_SERVERS names an existing one."""
    yield from _existing_or_own("KAFKA_BOOTSTRAP_SERVERS", services.kafka)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a real Redis; REDIS_URL names an existing one."""
    yield from _existing_or_own("REDIS_URL", services.redis)


@pytest.fixture(scope="session")
def redis_cluster_url() -> Iterator[str]:
    """URL of a node of a real Redis Cluster; REDIS_CLUSTER_URL names an existing one."""
    yield from _existing_or_own("REDIS_CLUSTER_URL", services.redis_cluster)


@pytest.fixture
def redis_server() -> Iterator[services.Server]:
    """A Redis of this test alone, to be killed and restarted; never one from the environment."""
    yield from provided(services.redis)


@pytest.fixture(scope="session")
def secure_kafka() -> Iterator[secure_services.SecureKafka]:
    """A Kafka with TLS, passwords and rights, for this run of the tests alone."""
    yield from provided(secure_services.secure_kafka)


@pytest.fixture(scope="session")
def secure_redis() -> Iterator[secure_services.SecureRedis]:
    """A Redis with TLS and users, for this run of the tests alone."""
    yield from provided(secure_services.secure_redis)


@pytest.fixture(autouse=True)
def _every_line_is_logged() -> None:
    """Whatever level a command line of another test has set in this process."""
    structlog.reset_defaults()


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """A name no other test or run has used, fit for topics, groups and key prefixes."""
    slug = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")
    return f"{slug}-{secrets.token_hex(4)}"


def _existing_or_own(variable: str, start: Callable[[], AbstractContextManager[services.Server]]) -> Iterator[str]:
    existing = os.environ.get(variable)
    if existing:
        yield existing
        return
    for server in provided(start):
        yield server.address


def provided(start: Callable[[], AbstractContextManager[_Running]]) -> Iterator[_Running]:
    """What a fixture yields: started, and ended afterwards. Where the machine lacks it: a skip on a laptop, a failure in CI."""
    try:
        running = start()
        server = running.__enter__()
    except services.MissingServiceError as error:
        if os.environ.get("CI", "").lower() not in {"", "0", "false", "no"}:
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    try:
        yield server
    finally:
        running.__exit__(None, None, None)
