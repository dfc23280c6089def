"""The health endpoint, asked over HTTP."""

import http.client
import json
import socket
import time
from collections.abc import Iterator

import pytest

from consumer.errors import SettingsError
from consumer.health import HealthServer
from consumer.loop import Pulse

HOST, STALLED_SECONDS = "127.0.0.1", 60.0


@pytest.fixture
def pulses() -> dict[str, Pulse]:
    return {"encode": Pulse(ready=True), "match": Pulse(ready=True)}


@pytest.fixture
def server(pulses: dict[str, Pulse]) -> Iterator[HealthServer]:
    with HealthServer(HOST, 0, pulses, STALLED_SECONDS) as running:
        yield running


def get(server: HealthServer, path: str) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read()
    finally:
        connection.close()


def report(server: HealthServer, path: str) -> tuple[int, dict[str, str]]:
    status, kind, body = get(server, path)
    assert kind == "application/json"
    return status, json.loads(body)


def test_all_is_well(server: HealthServer) -> None:
    for path in ("/livez", "/readyz"):
        assert report(server, path) == (200, {"encode": "ok", "match": "ok"})


def test_a_loop_that_does_not_turn_is_not_live(server: HealthServer, pulses: dict[str, Pulse]) -> None:
    pulses["match"].beat = time.monotonic() - STALLED_SECONDS - 5
    assert report(server, "/livez") == (503, {"encode": "ok", "match": "no turn for 65 s"})
    pulses["match"].beat = time.monotonic()
    assert report(server, "/livez")[0] == 200


def test_a_loop_that_catches_up_is_live_and_not_ready(server: HealthServer, pulses: dict[str, Pulse]) -> None:
    pulses["match"].ready = False
    assert report(server, "/readyz") == (503, {"encode": "ok", "match": "catching up"})
    assert report(server, "/livez")[0] == 200


def test_a_loop_that_waits_is_live_and_not_ready(server: HealthServer, pulses: dict[str, Pulse]) -> None:
    pulses["match"].waiting = "redis is away"
    assert report(server, "/readyz") == (503, {"encode": "ok", "match": "waiting: redis is away"})
    assert report(server, "/livez")[0] == 200
    pulses["match"].waiting = ""
    assert report(server, "/readyz")[0] == 200


def test_before_the_loops_exist_it_is_not_ready(server: HealthServer, pulses: dict[str, Pulse]) -> None:
    pulses.clear()
    assert report(server, "/readyz") == (503, {"service": "starting"})


def test_metrics_are_prometheus_text(server: HealthServer) -> None:
    status, kind, body = get(server, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain")
    for name in (b"dedup_step_seconds", b"dedup_latency_seconds", b"dedup_encoder_seconds"):
        assert b"# HELP " + name in body


@pytest.mark.parametrize("path", ["/", "/metrics/", "/health", "/livez/x", "/%2e%2e/etc/passwd"])
def test_anything_else_is_not_found(server: HealthServer, path: str) -> None:
    status, _, body = get(server, path)
    assert status == 404
    assert body == b"try /metrics, /livez or /readyz\n"


def test_a_query_is_no_other_path(server: HealthServer) -> None:
    assert get(server, "/livez?verbose=1")[0] == 200


def test_probes_are_not_logged(server: HealthServer, capfd: pytest.CaptureFixture[str]) -> None:
    get(server, "/livez")
    get(server, "/nope")
    assert capfd.readouterr() == ("", "")


def test_a_slow_client_does_not_hold_up_the_others(server: HealthServer) -> None:
    with socket.create_connection((HOST, server.port), timeout=5) as slow:
        slow.sendall(b"GET /livez HT")
        assert report(server, "/livez")[0] == 200


def test_a_port_that_is_taken_is_named(server: HealthServer) -> None:
    with pytest.raises(SettingsError, match=f"cannot listen on {HOST}:{server.port} .* set http.port"):
        HealthServer(HOST, server.port, {}, STALLED_SECONDS)


def test_a_host_that_is_not_ours_is_named() -> None:
    with pytest.raises(
        SettingsError, match=r"cannot listen on 203\.0\.113\.1:0 .* http\.host; `dedup demo` takes --port"
    ):
        HealthServer("203.0.113.1", 0, {}, STALLED_SECONDS)


def test_the_port_is_free_again_afterwards(pulses: dict[str, Pulse]) -> None:
    with HealthServer(HOST, 0, pulses, STALLED_SECONDS) as first:
        port = first.port
    with HealthServer(HOST, port, pulses, STALLED_SECONDS) as second:
        assert report(second, "/livez")[0] == 200
