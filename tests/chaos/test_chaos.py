"""A short run with a fixed seed, on one broker; and that the checks of a run can fail, and its network can."""

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import orjson
import pytest

from tests.chaos.__main__ import run, theatre
from tests.chaos.checks import compare
from tests.chaos.outcome import Decided, Encoded, Row, Told
from tests.chaos.proxy import Link, Proxy
from tests.chaos.world import World
from tests.conftest import provided

SHORT = "encoder killed,matcher killed,matcher asleep,Redis killed,no network to Redis,connections to Kafka cut"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[World]:
    """One broker, a Redis with its replica, and links to them."""
    yield from provided(lambda: theatre(tmp_path, brokers=1))


def test_a_service_that_is_broken_again_and_again_ends_where_one_left_alone_does(made: World) -> None:
    report = run(made, seed=11, faults=6, seconds=12, kinds=SHORT)
    assert report.passed, report.as_markdown()
    assert report.events > 20
    assert report.repeated_events == 0


# --- the checks --------------------------------------------------------------------------------------------------------


def told(cluster_id: str, version: int, added: list[str]) -> Told:
    data = {"cluster_id": cluster_id, "version": version, "added": added, "removed": []}
    event_id = f"{cluster_id}:{version}"
    return Told(event_id, cluster_id, version, orjson.dumps({"id": event_id, "data": data}))


def body(ingested_ms: int, numbers: bytes = b"1") -> bytes:
    return bytes(msgpack.packb({"src": ["in", 0, 0], "in": ingested_ms, "born": ingested_ms - 1, "vec": numbers}))


ROWS = Encoded(
    [Row(0, b"a", body(1), ("in", 0, 0)), Row(0, b"b", b"2", ("in", 0, 1)), Row(0, b"b", None, ("in", 0, 3))],
    [("in", 0, 2)],
)
CALM = Decided(
    events=[told("c1", 1, ["a", "b"]), told("c1", 2, ["c"]), told("c2", 1, ["d", "e"])],
    possible=[("a|d", b"found"), ("a|d", b"withdrawn")],
    states={
        "c1": {"size": 3, "members": ["a", "b", "c"]},
        "c2": {"size": 2, "members": ["d", "e"]},
        "c3": {"size": 0, "members": []},
    },
    redis={":{chaos/at}:records": {b"a": b"x"}},
    assignments={"a": "c1", "b": "c1", "c": "c1", "d": "c2", "e": "c2"},
    records={"at": ["a"]},
    indexes={"at": (1, {"a": b"\x01"})},
)


def wrong(rows: Encoded, run: Decided, *, exactly_once: bool = True) -> list[str]:
    """The promises that do not hold."""
    return [name for name, found in compare(rows, ROWS, run, CALM, exactly_once=exactly_once).items() if found]


def test_nothing_is_wrong_with_what_is_the_same() -> None:
    assert wrong(ROWS, CALM) == []
    assert wrong(replace(ROWS, rows=[*ROWS.rows, *ROWS.rows]), CALM) == []  # encoders may repeat
    said_again = replace(ROWS.rows[0], value=body(2))
    assert wrong(replace(ROWS, rows=[*ROWS.rows, said_again]), CALM) == []  # as matchers do behind a late version
    again = replace(CALM, events=[*CALM.events, CALM.events[0]], possible=[*CALM.possible, CALM.possible[0]])
    assert wrong(ROWS, again, exactly_once=False) == []


@pytest.mark.parametrize(
    ("what", "rows"),
    [
        ("in its order", replace(ROWS, rows=ROWS.rows[:-1])),
        ("in its order", replace(ROWS, rows=[ROWS.rows[1], ROWS.rows[0], ROWS.rows[2]])),
        ("in its order", replace(ROWS, rows=[*ROWS.rows[:2], replace(ROWS.rows[2], value=b"3")])),
        ("in its order", replace(ROWS, rows=[replace(ROWS.rows[0], value=body(2)), *ROWS.rows[1:]])),
        ("in its order", replace(ROWS, rows=[*ROWS.rows, replace(ROWS.rows[0], value=body(1, b"2"))])),
        ("dead letter", replace(ROWS, letters=[])),
        ("dead letter", replace(ROWS, letters=[*ROWS.letters, ("in", 0, 0)])),
    ],
)
def test_what_encoders_lose_or_turn_around_is_seen(what: str, rows: Encoded) -> None:
    (found,) = wrong(rows, CALM)
    assert what in found


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("each told once", {"events": [*CALM.events, CALM.events[0]]}),
        ("each told once", {"events": [CALM.events[1], CALM.events[0], CALM.events[2]]}),
        ("each told once", {"possible": [*CALM.possible, CALM.possible[0]]}),
        ("byte by byte", {"events": CALM.events[:-1]}),
        (
            "byte by byte",
            {"events": [replace(CALM.events[0], value=told("c1", 1, ["b", "a"]).value), *CALM.events[1:]]},
        ),
        ("`duplicate-clusters`", {"states": {**CALM.states, "c2": {"size": 0, "members": []}}}),
        ("Redis = events", {"assignments": {**CALM.assignments, "f": "c2"}}),
        ("left alone, nothing owed", {"redis": {**CALM.redis, ":{chaos/at}:outbox": [b"x"]}}),
        ("left alone, nothing owed", {"redis": {}}),
        ("index = Redis", {"indexes": {"at": (2, {"a": b"\x01"})}}),
        ("index = Redis", {"indexes": {"at": (1, {"a": b"\x02"})}}),
        ("index = Redis", {"indexes": {}}),
    ],
)
def test_what_matchers_lose_double_or_leave_behind_is_seen(what: str, change: dict[str, Any]) -> None:
    assert any(what in name for name in wrong(ROWS, replace(CALM, **change)))


# --- the network -------------------------------------------------------------------------------------------------------


@pytest.fixture
def echo() -> Iterator[Link]:
    """A link to a server that sends back what it is sent."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(client,), daemon=True).start()

    def answer(client: socket.socket) -> None:
        with client:
            try:
                while data := client.recv(1024):
                    client.sendall(data)
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with Proxy() as proxy:
        yield proxy.link("echo", "{}:{}".format(*server.getsockname()))
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def connected(link: Link) -> socket.socket:
    host, port = link.address.split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def test_what_is_in_a_held_link_arrives_later(echo: Link) -> None:
    with connected(echo) as client:
        client.sendall(b"one")
        assert client.recv(10) == b"one"
        echo.hold()
        client.settimeout(0.3)
        client.sendall(b"two")
        with pytest.raises(TimeoutError):
            client.recv(10)
        echo.restore()
        client.settimeout(10)
        assert client.recv(10) == b"two"


@pytest.mark.parametrize("how", [Link.cut, lambda link: link.turn_to("127.0.0.1:1")])
def test_a_cut_link_ends_its_connections(echo: Link, how: Callable[[Link], None]) -> None:
    with connected(echo) as client:
        client.sendall(b"one")
        assert client.recv(10) == b"one"
        how(echo)
        assert ended(client)
    with connected(echo) as client:
        assert ended(client)


def ended(client: socket.socket) -> bool:
    try:
        return client.recv(10) == b""
    except ConnectionResetError:
        return True
