"""The command line as a person or a script meets it: files in, files out, one message and a code when it fails."""

import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from redis import Redis

from consumer.adapters.kafka_source import KafkaSource
from consumer.adapters.kafka_topics import describe
from consumer.evaluation import EventView, pairwise
from consumer.records import Message
from consumer.simulate import signups
from tests.deployment import DAY, PATIENCE_SECONDS, PERSON, Process, clean_environment, wait_until
from tests.services import ROOT, Server, _java, _kafka_jars

NOWHERE = "127.0.0.1:9"
"""A port nothing listens on."""
SAY = ("feedback", "r1", "r2", "--same", "--by", "Ann")


def dedup(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "consumer", *map(str, arguments)],
        env={**clean_environment(), "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def assert_refused(done: subprocess.CompletedProcess[str], *said: str, code: int = 1) -> None:
    """One message on standard error, which says these; nothing on standard output; no traceback."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    message = done.stderr[done.stderr.index("dedup: " if code == 1 else "Error: ") :]
    assert [part for part in said if part not in message] == []
    others = [line for line in done.stderr.splitlines() if line.startswith("dedup: ")]
    assert len(others) == (1 if code == 1 else 0)


# batch


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 signups, and between them three lines that are none and one that erases nothing."""
    file = tmp_path_factory.mktemp("records") / "records.jsonl"
    lines = [orjson.dumps({"id": s.id, **s.value}) for s in signups(300, seed=4)]
    lines[10:10] = [b"no JSON", b"", b'{"name": "nobody"}']
    lines[200:200] = [b'{"id": "odd", "name": ["a", "list"]}']
    file.write_bytes(b"\n".join(lines) + b"\n")
    return file


def test_batch_writes_its_files_and_does_so_again(records: Path, tmp_path: Path) -> None:
    done = dedup("batch", records, "--out", tmp_path / "one", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary == json.loads((tmp_path / "one" / "summary.json").read_text())
    with (tmp_path / "one" / "clusters.csv").open(newline="") as file:
        rows = {row["id"]: row["cluster_id"] for row in csv.DictReader(file)}
    truth = {s.id: s.person for s in signups(300, seed=4)}
    assert rows.keys() == truth.keys()
    view = EventView()
    for line in (tmp_path / "one" / "events.jsonl").read_bytes().splitlines():
        view.apply(orjson.loads(line))
    assert view.gaps == []
    assert {record: cid for record, cid in rows.items() if record in view.assignments} == view.assignments
    assert pairwise(truth, rows).f1 > 0.6
    assert (summary["records"], summary["rejected"]) == (300, 3)
    assert (summary["clusters"], summary["clustered_records"]) == (len(view.clusters), len(view.assignments))
    letters = [json.loads(line) for line in (tmp_path / "one" / "dead_letters.jsonl").read_text().splitlines()]
    assert [letter["line"] for letter in letters] == [11, 13, 201]
    assert all(letter["reason"] for letter in letters)
    assert "nobody" not in str(letters)

    assert dedup("batch", records, "--out", tmp_path / "two", "--json").stdout == done.stdout
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["clusters.csv", "dead_letters.jsonl", "events.jsonl", "possible.jsonl", "summary.json"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_example_of_an_own_profile_finds_a_patient_again(tmp_path: Path) -> None:
    """A slip in the name and a date written otherwise; who lives there too; a namesake of whom little is known."""
    joshua = {"given_name": "Joshua", "surname": "Garthwaite", "date_of_birth": "1905-07-03"}
    home = {"street": "24 McClintock Street", "suburb": "Avoca", "postcode": "3175"}
    patients: list[dict[str, str]] = [
        {"id": "p-1", **joshua, **home},
        {"id": "p-2", **joshua, **home, "surname": "Garthwait", "date_of_birth": "3.7.1905"},
        {"id": "p-3", **home, "given_name": "Emma", "surname": "Garthwaite", "date_of_birth": "1984-08-07"},
        {"id": "p-4", "given_name": "Joshua", "surname": "Garthwaite"},
    ]
    source = tmp_path / "patients.jsonl"
    source.write_bytes(b"\n".join(map(orjson.dumps, patients)))
    done = dedup("batch", source, "--out", tmp_path / "out", "--profile", ROOT / "examples" / "patients.yaml")
    assert done.returncode == 0, done.stderr
    rows = dict(line.split(",") for line in (tmp_path / "out" / "clusters.csv").read_text().split()[1:])
    assert rows["p-1"] == rows["p-2"]
    assert len(set(rows.values())) == 3


def test_batch_without_json_says_it_in_words(records: Path, tmp_path: Path) -> None:
    done = dedup("batch", records, "--out", tmp_path / "out", "--profile", PERSON)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("300 records, ")
    assert "3 lines rejected" in done.stdout


def test_batch_applies_what_people_say_after_the_records(tmp_path: Path) -> None:
    names = {"r1": "Adaeze Brennan", "r2": "Adaeze Brennan", "r3": "Tomás Villanueva"}
    source, feedback = tmp_path / "records.jsonl", tmp_path / "feedback.jsonl"
    source.write_bytes(b"\n".join(orjson.dumps({"id": r, "name": n, "city": "Wien", **DAY}) for r, n in names.items()))
    pairs = {("r1", "r2"): "different", ("r3", "r2"): "same"}
    said = [{"a": a, "b": b, "verdict": v, "by": "Ann", "profile": "person"} for (a, b), v in pairs.items()]
    feedback.write_bytes(b"\n".join(map(orjson.dumps, [*said, {**said[0], "profile": "other"}])))
    for out in ("one", "two"):
        arguments = ("--profile", PERSON, "--feedback", feedback, "--out", tmp_path / out, "--json")
        done = dedup("batch", source, *arguments)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["verdicts"] == 2
    with (tmp_path / "one" / "clusters.csv").open(newline="") as file:
        rows = {row["id"]: row["cluster_id"] for row in csv.DictReader(file)}
    assert rows["r1"] == "alone:r1"
    assert rows["r2"] == rows["r3"]
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()

    feedback.write_bytes(orjson.dumps({**said[0], "verdict": "perhaps"}))
    done = dedup("batch", source, "--profile", PERSON, "--feedback", feedback, "--out", tmp_path / "three")
    assert_refused(done, "feedback.jsonl", "line 1: verdict: ")
    assert not (tmp_path / "three").exists()


# demo


def test_demo_ends_with_its_figures_and_nothing_else_on_stdout(tmp_path: Path) -> None:
    done = dedup("demo", "--records", "400")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    figures = json.loads(done.stdout)
    assert list(figures) == [
        *("records", "events", "clusters", "precision", "recall", "f1", "p50_ms", "p99_ms", "records_per_second")
    ]
    assert figures["records"] == 400
    assert figures["f1"] > 0.6
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert figures["records_per_second"] > 0
    assert "keep" in done.stderr  # examples, for people


def test_demo_stays_up_where_asked_to_and_ends_on_sigterm(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "consumer", "demo", "--records", "60", "--serve"],
            env=clean_environment(),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["records"] == 60
        wait_until(lambda: "serving http://" in (tmp_path / "stderr").read_text(), "the address")
        said = (tmp_path / "stderr").read_text()
        address = said[said.index("http://") :].split("/metrics")[0]
        for path in ("/readyz", "/livez", "/metrics"):
            with urllib.request.urlopen(address + path, timeout=5) as answer:
                assert answer.status == 200
        wait_until(lambda: "dedup explain" in (tmp_path / "stderr").read_text(), "how to ask why")
        asked = (tmp_path / "stderr").read_text().split("DEDUP_REDIS__URL=")[1].split()
        why = dedup("explain", asked[3], DEDUP_REDIS__URL=asked[0])
        assert why.stdout.startswith(f"{asked[3]} "), why.stderr
        assert " in signup/default, version " in why.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stdout.read() == ""
        assert "Traceback" not in (tmp_path / "stderr").read_text()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_demo_that_is_ended_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "consumer", "demo", "--records", "100000"],
        env={**clean_environment(), "TMPDIR": str(tmp_path)},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509  # as if not under nohup
    )
    try:
        wait_until(lambda: "Ready to accept" in "".join(p.read_text() for p in tmp_path.glob("*/redis.log")), "Redis")
        redis_pid = int(next(tmp_path.glob("*/redis.log")).read_text().split(":")[0])
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    finally:
        process.kill()
        process.wait()
    with pytest.raises(ProcessLookupError):
        os.kill(redis_pid, 0)
    assert list(tmp_path.iterdir()) == []


# topics and doctor


@pytest.fixture
def named(kafka_servers: str, redis_url: str, unique: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a deployment whose names nobody else uses."""
    name = unique[-40:].strip("-")
    profile = tmp_path / "profile.yaml"
    text = (ROOT / "consumer" / "profiles" / "signup.yaml").read_text()
    profile.write_text(text.replace("name: signup", f"name: {name}").replace("input: signups", f"input: {name}.in"))
    return {
        "DEDUP_PROFILE": str(profile),
        "DEDUP_KAFKA__BOOTSTRAP_SERVERS": kafka_servers,
        "DEDUP_KAFKA__GROUP": name,
        "DEDUP_REDIS__URL": redis_url,
        "DEDUP_REDIS__PREFIX": name,
        "DEDUP_TOPICS__PARTITIONS": "2",
        "DEDUP_TOPICS__FEEDBACK": f"{name}.feedback",
        "DEDUP_TOPICS__EVENTS": f"{name}.events",
        "DEDUP_TOPICS__CLUSTERS": f"{name}.clusters",
        "DEDUP_TOPICS__POSSIBLE": f"{name}.possible",
        "DEDUP_STATE__DIRECTORY": str(tmp_path / "state"),
        "DEDUP_HTTP__PORT": "0",
    }


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
    java = [_java(), "-cp", f"{_kafka_jars()}/*", "org.apache.kafka.tools.TopicCommand"]
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


# feedback


def test_a_word_is_on_the_topic_when_the_command_ends(named: Mapping[str, str]) -> None:
    topic = named["DEDUP_TOPICS__FEEDBACK"]
    assert_refused(dedup(*SAY, **named), topic, "does not exist")
    assert dedup("topics", "create", **named).returncode == 0

    done = dedup("feedback", "r2", "r1", "--different", "--by", "Ann", "--json", **named)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said.pop("topic") == topic
    assert (said["a"], said["b"], said["verdict"], said["scope"]) == ("r1", "r2", "different", "default")
    told = dedup(*SAY, **named).stdout
    assert all(part in told for part in ("`same` for r1 and r2", topic, named["DEDUP_TOPICS__EVENTS"]))

    words = read_topic(named, topic)
    assert [word["verdict"] for word in words] == ["different", "same"]
    assert words[0] == said


def test_a_sheet_is_sent_whole_or_not_at_all(named: Mapping[str, str], tmp_path: Path) -> None:
    assert dedup("topics", "create", **named).returncode == 0
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("a,b,verdict\nr1,r2,same\nr1,r3,perhaps\nr4,r4,same\n")
    done = dedup("feedback", "--file", sheet, "--by", "Ann", **named)
    assert_refused(done, "sheet.csv", "line 3: verdict: ", "line 4: a and b are the same record")
    assert read_topic(named, named["DEDUP_TOPICS__FEEDBACK"]) == []

    sheet.write_text("a,b,verdict\nr1,r2,same\nr1,r3,\nr5,r4,different\n")
    done = dedup("feedback", "--file", sheet, "--by", "Ann", "--json", **named)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"said": 2, "unanswered": 1, "topic": named["DEDUP_TOPICS__FEEDBACK"]}
    words = read_topic(named, named["DEDUP_TOPICS__FEEDBACK"])
    assert {(w["a"], w["b"], w["verdict"], w["by"]) for w in words} == {
        ("r1", "r2", "same", "Ann"),
        ("r4", "r5", "different", "Ann"),
    }


def read_topic(named: Mapping[str, str], topic: str) -> list[dict[str, str]]:
    """JSON values, those of one key in their order."""
    servers = {"bootstrap.servers": named["DEDUP_KAFKA__BOOTSTRAP_SERVERS"]}
    source = KafkaSource(servers, f"{topic}.reader.{time.monotonic_ns()}", [topic])
    try:
        ends = {partition: source.high_watermark(topic, partition) for partition in range(2)}
        messages: list[Message] = []
        while len(messages) < sum(ends.values()):
            messages += source.poll(100, 1.0)
    finally:
        source.close()
    return [json.loads(m.value or b"") for m in messages]


# what goes wrong


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


def test_batch_goes_through_a_file_of_which_no_line_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("anna,paris\n" * 3_000)
    done = dedup("batch", tmp_path / "people.csv", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out/dead_letters.jsonl").read_bytes().splitlines()) == 3_000


def test_a_line_that_no_topic_would_take_is_a_dead_letter_of_batch(tmp_path: Path) -> None:
    source = tmp_path / "large.jsonl"
    large = orjson.dumps({"id": "large", "name": "x" * 17 * 1024**2})
    source.write_bytes(b"\n".join([large, b'{"id": "small", "name": "maria garcia", "city": "madrid"}']))
    done = dedup("batch", source, "--out", tmp_path / "out", "--profile", PERSON, "--json")
    assert done.returncode == 0, done.stderr
    letters = (tmp_path / "out" / "dead_letters.jsonl").read_bytes().splitlines()
    assert [orjson.loads(letter) for letter in letters] == [{"line": 1, "reason": "larger than 16 MiB"}]
    assert orjson.loads(done.stdout)["records"] == 1


@pytest.mark.parametrize("command", [["explain", "\udcff"], ["erase", "\udcff"], ["feedback", "a", "\udcff", "--same"]])
def test_an_id_that_is_not_utf_8_is_refused(command: list[str]) -> None:
    assert_refused(dedup(*command), "not in UTF-8", code=2)


def test_batch_says_what_it_cannot_read_or_write(records: Path, tmp_path: Path) -> None:
    assert_refused(dedup("batch", tmp_path / "none.jsonl", "--out", tmp_path), "none.jsonl", code=2)
    (tmp_path / "file").write_text("")
    assert_refused(dedup("batch", records, "--out", tmp_path / "file"), "is a file", code=2)
    assert_refused(dedup("batch", records, "--out", tmp_path / "file" / "below"), "Not a directory")
    assert_refused(dedup("batch", records, "--out", "/proc/self/none"), "/proc/self/none")
    (tmp_path / "events.jsonl").write_bytes(records.read_bytes())
    assert_refused(dedup("batch", tmp_path / "events.jsonl", "--out", tmp_path), "would be overwritten")
    assert (tmp_path / "events.jsonl").read_bytes() == records.read_bytes()
    empty = {"DEDUP_MODELS__DIRECTORY": str(tmp_path)}
    assert_refused(dedup("batch", records, "--out", tmp_path / "out", **empty), "subword", "spec.json")


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
