"""`dedup topics` and `dedup doctor`: what is made before a start, and each fault at once with what to do."""

import json
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from redis import Redis

from consumer.adapters.kafka_topics import describe
from tests.command_line import NOWHERE, dedup
from tests.services import ROOT, Server, java_program, kafka_jars


def findings(done: subprocess.CompletedProcess[str]) -> list[dict[str, str]]:
    assert "Traceback" not in done.stderr
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


def faults(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What is at fault → what is said of it."""
    return {f["what"]: f"{f['detail']}; {f['advice']}" for f in findings(done) if f["level"] == "fault"}


def test_topics_are_created_once_and_doctor_is_content_then(named: Mapping[str, str]) -> None:
    before = dedup("doctor", "--json", **named)
    assert before.returncode == 1
    assert len(faults(before)) == 9
    assert all("run `dedup topics create`" in said for said in faults(before).values())

    first = dedup("topics", "create", "--json", **named)
    assert (first.returncode, set(json.loads(first.stdout).values())) == (0, {"created"})
    second = dedup("topics", "create", **named)
    assert second.returncode == 0
    assert all(line.endswith(": exists") for line in second.stdout.splitlines())
    third = dedup("topics", "create", "--json", **{**named, "DEDUP_TOPICS__PARTITIONS": "3"})
    assert (third.returncode, set(json.loads(third.stdout).values())) == (0, {"exists with 2 partitions"})
    assert all(
        state.partitions == 2
        for state in describe(
            {"bootstrap.servers": named["DEDUP_KAFKA__BOOTSTRAP_SERVERS"]}, list(json.loads(first.stdout))
        ).values()
    )

    good = dedup("doctor", "--json", **{**named, "DEDUP_PRIVACY__KEY": "a secret of our own"})
    assert (good.returncode, faults(good)) == (0, {})
    assert {"profile", "models", "brokers", "redis"} <= {f["what"] for f in findings(good) if f["level"] == "ok"}
    assert "privacy.key" not in good.stdout
    plain = dedup("doctor", **named)
    assert plain.returncode == 0
    assert "set DEDUP_PRIVACY__KEY" in plain.stdout
    assert plain.stderr == ""


def test_topics_made_by_the_commands_shown_are_those_made_here(named: Mapping[str, str]) -> None:
    shown = dedup("topics", "show", **named).stdout.splitlines()
    name = named["DEDUP_KAFKA__GROUP"]
    alike = {
        f"{name}.in": f"{name}.events",
        f"{name}.in.dlq": f"vectors.{name}.dlq",
        f"vectors.{name}": f"{name}.clusters",
    }
    java = [java_program(), "-cp", f"{kafka_jars()}/*", "org.apache.kafka.tools.TopicCommand"]
    for line in shown:
        script, *arguments = shlex.split(line)
        assert script == "kafka-topics.sh"
        if arguments[arguments.index("--topic") + 1] in alike:
            subprocess.run([*java, *arguments], check=True, timeout=60)

    outcomes = json.loads(dedup("topics", "create", "--json", **named).stdout)
    assert {topic for topic, outcome in outcomes.items() if outcome == "exists"} == alike.keys()
    made = describe({"bootstrap.servers": named["DEDUP_KAFKA__BOOTSTRAP_SERVERS"]}, list(outcomes))
    for by_hand, here in alike.items():
        assert replace(made[by_hand], name=here) == made[here]
    told = json.loads(dedup("topics", "show", "--json", **named).stdout)
    assert [spec["name"] for spec in told] == list(outcomes)


def test_doctor_names_every_fault_at_once_with_what_to_do(named: Mapping[str, str], tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models" / "onnx", models)
    with (models / "subword" / "model.onnx").open("r+b") as file:
        file.seek(1000)
        file.write(b"tampered")
    bad = {
        **named,
        "DEDUP_KAFKA__BOOTSTRAP_SERVERS": NOWHERE,
        "DEDUP_REDIS__URL": f"redis://user:zqpassword@{NOWHERE}/0",
        "DEDUP_MODELS__DIRECTORY": str(models),
    }
    unset = {name: value for name, value in named.items() if name != "DEDUP_KAFKA__BOOTSTRAP_SERVERS"}
    with ThreadPoolExecutor(2) as pool:
        away, unnamed = (pool.submit(dedup, "doctor", "--json", **environment) for environment in (bad, unset))
    done = away.result()
    assert done.returncode == 1
    said = faults(done)
    assert set(said) == {"models", "brokers", "topics", "redis"}
    assert "model.onnx" in said["models"]
    assert "check bootstrap.servers" in said["brokers"]
    assert "check that it runs" in said["redis"]
    assert done.stderr == ""
    assert "zqpassword" not in done.stdout

    assert unnamed.result().returncode == 1
    assert "DEDUP_KAFKA__BOOTSTRAP_SERVERS" in faults(unnamed.result())["brokers"]


def test_doctor_refuses_a_redis_that_evicts_and_warns_of_one_that_forgets(
    named: Mapping[str, str], redis_server: Server
) -> None:
    assert dedup("topics", "create", **named).returncode == 0
    with Redis.from_url(redis_server.address) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("appendonly", "no")
    done = dedup("doctor", "--json", **{**named, "DEDUP_REDIS__URL": redis_server.address})
    assert done.returncode == 1
    assert list(faults(done)) == ["redis eviction"]
    assert "set noeviction" in faults(done)["redis eviction"]
    warnings = {f["what"]: f["advice"] for f in findings(done) if f["level"] == "warning"}
    assert warnings["redis persistence"] == "set appendonly yes"
