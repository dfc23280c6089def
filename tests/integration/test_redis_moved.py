"""A store whose primary becomes a replica while connections to it stay, as in a planned failover behind a DNS name."""

import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from consumer.adapters.redis_clusters import RedisClusters
from consumer.errors import StoreError
from consumer.records import ScopeUpdate
from tests import services
from tests.conftest import provided
from tests.factories import KEY
from tests.redis_servers import client_of

NOTHING = ScopeUpdate({}, {}, {}, {}, {}, (), (), {}, ())


class Node:
    """A Redis of this test alone."""

    def __init__(self, server: services.Server) -> None:
        self.port = urlsplit(server.address).port or 0
        self.client = client_of(f"127.0.0.1:{self.port}")

    def give_way_to(self, successor: "Node") -> None:
        """Return once the successor has everything, and this one follows it; connections stay."""
        for key in self.client.scan_iter("*"):
            successor.client.restore(key, 0, self.client.dump(key))
        self.client.execute_command("REPLICAOF", "127.0.0.1", successor.port)
        deadline = time.monotonic() + 30
        while self.client.info("replication")["master_link_status"] != "up":
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture
def nodes() -> Iterator[list[Node]]:
    for first in provided(services.redis):
        for second in provided(services.redis):
            made = [Node(first), Node(second)]
            yield made
            for node in made:
                node.client.close()


def test_the_name_is_asked_again_once_a_node_takes_no_writes(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = nodes
    named, resolve = {"primary.example": one.port}, socket.getaddrinfo

    def resolved(host: str, port: int, *more: Any) -> Any:
        return resolve("127.0.0.1", named[host], *more) if host in named else resolve(host, port, *more)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    url = "redis://primary.example"
    store = RedisClusters(url, profile="p", key=KEY, erased_ttl_seconds=60, timeout_seconds=2.0)
    epoch = store.take_epoch(0)
    store.claim("de", 0, epoch)
    one.give_way_to(other)
    named["primary.example"] = other.port
    with pytest.raises(StoreError, match="READONLY"):
        store.apply("de", 0, epoch, 1, NOTHING)
    assert store.apply("de", 0, epoch, 1, NOTHING)
    assert store.take_epoch(0) == epoch + 1
    store.close()
