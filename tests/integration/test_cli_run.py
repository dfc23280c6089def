"""`dedup run` where something it needs is wrong or away: it ends with one message, or waits and says so."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from tests.command_line import NOWHERE, assert_refused, dedup
from tests.deployment import Process, wait_until
from tests.services import Server


def test_run_ends_at_once_with_properties_that_are_refused(named: Mapping[str, str]) -> None:
    started = time.monotonic()
    assert_refused(dedup("run", **named, DEDUP_KAFKA__PROPERTIES__NO_SUCH="1"), "no.such")
    assert_refused(dedup("run", **named, DEDUP_KAFKA__CONSUMER__NO_SUCH="1"), "no.such")
    assert_refused(dedup("run", "--role", "match", **named, DEDUP_KAFKA__PRODUCER__NO_SUCH="1"), "no.such")
    wrong = {**named, "DEDUP_REDIS__URL": "nonsense://:zqpassword@host"}
    done = dedup("run", **wrong)
    assert_refused(done, "Redis URL")
    assert "zqpassword" not in done.stderr
    assert time.monotonic() - started < 40


def test_run_says_that_it_waits_for_redis_and_goes_on_when_it_comes(
    named: Mapping[str, str], redis_server: Server, tmp_path: Path
) -> None:
    redis_server.kill()
    process = Process({**named, "DEDUP_REDIS__URL": redis_server.address}, tmp_path / "run", "run")
    try:

        def waits() -> bool:
            # the stages start side by side: which of them says first how it is, is nobody's promise
            status, body = process.get("/readyz")
            said: dict[str, str] = json.loads(body)
            return status == 503 and said["encode"] == "ok" and "check that it runs" in said["match"]

        wait_until(waits, "says that it waits, and for what")
        assert process.get("/livez")[0] == 200
        assert process.metric("dedup_waiting", stage="match") == 1
        assert [entry["event"] for entry in process.log if entry["level"] == "warning"].count("waiting") == 1
        redis_server.start()
        process.wait_ready()
        wait_until(lambda: process.metric("dedup_waiting", stage="match") == 0, "goes on")
        assert process.stop() == 0
        assert "Traceback" not in process.stderr
    finally:
        process.kill()


def test_run_that_waits_for_redis_ends_on_sigterm(named: Mapping[str, str], tmp_path: Path) -> None:
    process = Process({**named, "DEDUP_REDIS__URL": f"redis://{NOWHERE}"}, tmp_path / "run", "run")
    try:
        wait_until(lambda: "waiting" in process.get("/readyz")[1], "says that it waits")
        assert process.stop() == 0
        assert "Traceback" not in process.stderr
    finally:
        process.kill()


def test_a_port_that_is_taken_is_one_message(named: Mapping[str, str], redis_url: str) -> None:
    port = redis_url.rsplit(":", 1)[1].split("/", maxsplit=1)[0]
    taken = {**named, "DEDUP_HTTP__HOST": "127.0.0.1", "DEDUP_HTTP__PORT": port}
    assert_refused(dedup("run", **taken), f"127.0.0.1:{port}", "set http.port")
