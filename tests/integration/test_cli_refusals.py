"""What any command refuses: wrong settings, ids that are none, brokers that are away or not named; one message and a code."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.command_line import NOWHERE, SAY, assert_refused, dedup
from tests.deployment import PERSON


@pytest.mark.parametrize(
    "command", [["run"], ["doctor"], ["topics", "create"], ["erase", "x"], [*SAY], ["batch", "IN"]], ids=lambda c: c[0]
)
def test_wrong_settings_are_one_message(command: Sequence[str], records: Path, tmp_path: Path) -> None:
    arguments = [str(records) if part == "IN" else part for part in command]
    if command[0] == "batch":
        arguments += ["--out", str(tmp_path / "out")]
    broken = tmp_path / "settings.yaml"
    broken.write_text("kafka: {bootstrap_servers: [zqsecret\n")
    brokers = {"DEDUP_KAFKA__BOOTSTRAP_SERVERS": NOWHERE}
    done = dedup(*arguments, "--config", broken, **brokers)
    assert_refused(done, "settings.yaml", "line ")
    assert "zqsecret" not in done.stderr
    assert_refused(dedup(*arguments, "--config", tmp_path / "none.yaml", **brokers), "none.yaml", "cannot be read")
    assert_refused(dedup(*arguments, "--profile", "nonesuch", **brokers), "nonesuch", "signup, listing")
    done = dedup(
        *arguments,
        **brokers,
        DEDUP_HTTP__PORT="zqsecret",
        DEDUP_LIMITS__BATCH_RECORDS="-3",
        DEDUP_REDIS__NO_SUCH="1",
    )
    assert_refused(done, "http.port", "limits.batch_records", "redis.no_such")
    assert "zqsecret" not in done.stderr


@pytest.mark.parametrize("command", [["explain", "\udcff"], ["erase", "\udcff"], ["feedback", "a", "\udcff", "--same"]])
def test_an_id_that_is_not_utf_8_is_refused(command: list[str]) -> None:
    assert_refused(dedup(*command), "not in UTF-8", code=2)


def test_a_broker_that_is_away_is_one_message(tmp_path: Path) -> None:
    environment = {
        "DEDUP_KAFKA__BOOTSTRAP_SERVERS": NOWHERE,
        "DEDUP_PROFILE": str(PERSON),
        "DEDUP_HTTP__PORT": "0",
        "DEDUP_STATE__DIRECTORY": str(tmp_path),
    }
    none_to_make = {**environment, "DEDUP_TOPICS__CREATE": "false"}  # nothing but the consumer would miss the broker
    calls = [
        (["run"], environment),
        (["run", "--role", "match"], none_to_make),
        (["topics", "create"], environment),
        (["erase", "x"], environment),
        ([*SAY], environment),
    ]
    with ThreadPoolExecutor(len(calls)) as pool:  # each waits a while before it gives up
        results = [pool.submit(dedup, *arguments, **chosen) for arguments, chosen in calls]
    for result in results:
        done = result.result()
        assert_refused(done, "check bootstrap.servers and that Kafka is running")
        assert len(done.stderr.splitlines()) <= 4  # librdkafka tries often; it is told once


def test_no_brokers_is_one_message_that_names_the_setting() -> None:
    for command in (["run"], ["topics", "create"], ["erase", "x"], SAY):
        assert_refused(dedup(*command), "DEDUP_KAFKA__BOOTSTRAP_SERVERS=host:9092")
