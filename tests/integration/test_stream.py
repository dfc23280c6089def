"""`dedup run` as an operator starts it, on a real Kafka and Redis: what it finds, keeps, forgets, refuses and survives."""

import json
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from consumer.adapters.kafka_topics import describe
from consumer.evaluation import EventView, pairwise
from consumer.names import scope_partition
from consumer.sections import MESSAGE_MAX_BYTES
from consumer.simulate import signups
from tests.deployment import (
    DAY,
    PERSON,
    QUICK_SESSIONS,
    SIGNUP,
    ClusterDeployment,
    Deployment,
    headers_of,
    key_of,
    value_of,
    wait_until,
)
from tests.services import ROOT, Server

Deploy = Callable[..., Deployment]


@pytest.fixture
def deploy(kafka_servers: str, redis_url: str, unique: str, tmp_path: Path) -> Iterator[Deploy]:
    """A maker of deployments: `deploy(profile file, suffix of its name, changes of the profile)`."""
    with ExitStack() as stack:

        def make(profile: Path = PERSON, suffix: str = "", **changes: Any) -> Deployment:
            made = Deployment(
                f"{unique[-40:].strip('-')}{suffix}", kafka_servers, redis_url, tmp_path, profile, **changes
            )
            stack.callback(made.close)
            return made

        yield make


def person(name: str, city: str = "Wien", **more: object) -> dict[str, object]:
    return {"name": name, "city": city, **DAY, **more}


def assert_consistent(deployment: Deployment, scopes: Sequence[str] = ("default",)) -> EventView:
    """Events alone, Redis, and the compacted topic tell the same; no version is missing."""
    view = deployment.view()
    assert view.gaps == []
    stored: dict[str, str] = {}
    for scope in scopes:
        stored |= deployment.assignments(scope)
    assert view.assignments == stored
    states = deployment.states()
    live = {cid: set(state["members"]) for cid, state in states.items() if state is not None and state["size"]}
    assert live == dict(view.clusters)
    for cid, state in states.items():
        if cid not in live:
            assert state is None or state["merged_into"] in states
    assert {event["data"]["cluster_id"] for event in deployment.events()} == states.keys()
    return view


def stories(events: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Per cluster its events by version, repeats left out."""
    by_id = {event["id"]: event for event in events}
    found: dict[str, list[dict[str, Any]]] = {}
    for event in sorted(by_id.values(), key=lambda e: int(e["data"]["version"])):
        found.setdefault(event["data"]["cluster_id"], []).append(event)
    return found


# a


def test_a_service_told_only_where_things_are_finds_duplicates_and_goes_on_after_a_restart(deploy: Deploy) -> None:
    deployment = deploy(SIGNUP)
    records = list(signups(400, seed=11))
    service = deployment.start().wait_ready()
    assert service.get("/livez")[0] == 200
    deployment.send_signups(records)
    deployment.settle()

    view = assert_consistent(deployment)
    scores = pairwise({r.id: r.person for r in records}, view.assignments)
    assert scores.f1 > 0.6
    events = deployment.events()
    assert len({event["id"] for event in events}) == len(events)
    assert service.metric("dedup_records_total", stage="encode") == 400
    assert service.metric("dedup_records_total", stage="match") == 400
    assert service.metric("dedup_index_records") == 400
    assert service.metric("dedup_latency_seconds_count", stage="match") == 400
    assert service.metric("dedup_lag_records") == 0
    assert service.metric("dedup_rejected_total") == 0
    kinds = Counter(event["data"]["kind"] for event in events)
    assert {kind: service.metric("dedup_changes_total", kind=kind) for kind in kinds} == kinds
    assert [service.get(path)[0] for path in ("/livez", "/readyz", "/")] == [200, 200, 404]
    assert_topics_as_promised(deployment)

    started = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - started < 25
    assert service.stdout == ""
    manifests = list((deployment.folder / "state").rglob("manifest.json"))
    assert any(orjson.loads(m.read_bytes())["manifest"]["offset"] == 400 for m in manifests)

    service = deployment.start().wait_ready()
    assert service.metric("dedup_index_records") == 400
    old = next(r for r in records if r.id not in view.assignments)
    deployment.send("a-newcomer", old.value)
    deployment.settle()
    after = assert_consistent(deployment)
    assert after.assignments["a-newcomer"] == after.assignments[old.id]
    new = deployment.events()[:]
    assert Counter(event["id"] for event in new).most_common(1)[0][1] == 1
    assert {event["id"] for event in new} > {event["id"] for event in events}
    assert len(new) == len(events) + 1
    assert service.metric("dedup_records_total", stage="match") == 1
    assert service.stop() == 0


def assert_topics_as_promised(deployment: Deployment) -> None:
    plain = [deployment.input, f"{deployment.input}.dlq", f"{deployment.vectors}.dlq"]
    plain += [f"{deployment.name}.events", f"{deployment.name}.possible"]
    compacted = [deployment.vectors, f"{deployment.name}.clusters"]
    found = describe({"bootstrap.servers": deployment.servers}, [*plain, *compacted])
    assert found.keys() == {*plain, *compacted}
    for name, state in found.items():
        assert state.partitions == 12
        assert int(state.config["max.message.bytes"]) >= MESSAGE_MAX_BYTES
        assert state.config.get("cleanup.policy", "delete") == ("compact" if name in compacted else "delete")
        kept = "delete.retention.ms" if name in compacted else "retention.ms"
        assert int(state.config[kept]) == 7 * 24 * 3600 * 1000


# b


def last_change(story: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What happened last to the members of a cluster; that another record is to be kept may follow it."""
    changes: list[Mapping[str, Any]] = [event["data"] for event in story]
    return next(data for data in reversed(changes) if data["kind"] != "exemplar_changed")


def test_updates_move_records_and_erasures_leave_no_trace(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.environment |= {"DEDUP_TOPICS__PARTITIONS": "3", **QUICK_SESSIONS}
    service = deployment.start().wait_ready()
    four, two = ["quorra-1", "quorra-2", "quorra-3", "quorra-4"], ["zephyr-1", "zephyr-2"]
    for record in four:
        deployment.send(record, person("Adaeze Brennan"))
    for record in two:
        deployment.send(record, person("Wilhelm Żukowski", "Gdańsk"))
    deployment.settle()
    view = assert_consistent(deployment)
    assert sorted(map(sorted, view.clusters.values())) == [four, two]
    cluster = {name: view.assignments[name] for name in (four[0], two[0])}

    deployment.send(four[2], person("Thandiwe Ndiaye", "Dakar"))
    deployment.send(two[1], person("Xiomara Escobar", "Medellín"))
    deployment.settle()
    assert sorted(map(sorted, assert_consistent(deployment).clusters.values())) == [[four[0], four[1], four[3]]]
    last = {cid: last_change(story) for cid, story in stories(deployment.events()).items()}
    assert (last[cluster[four[0]]]["kind"], last[cluster[four[0]]]["removed"]) == ("left", [four[2]])
    assert (last[cluster[two[0]]]["kind"], sorted(last[cluster[two[0]]]["removed"])) == ("dissolved", two)

    deployment.send(four[0], None)
    deployment.settle()
    assert four[0].encode() not in deployment.dump()
    data = last_change(stories(deployment.events())[cluster[four[0]]])
    assert (data["kind"], data["removed"]) == ("left", [four[0]])

    for record in (four[1], four[2], "never-seen"):  # in a cluster, alone, unknown
        done = deployment.run("erase", record, "--json")
        assert (done.returncode, json.loads(done.stdout)) == (0, {"id": record, "topic": deployment.input})
    deployment.settle()
    assert assert_consistent(deployment).clusters == {}
    data = stories(deployment.events())[cluster[four[0]]][-1]["data"]
    assert (data["kind"], sorted(data["removed"])) == ("dissolved", [four[1], four[3]])
    dump = deployment.dump()
    assert [record for record in four if record.encode() in dump] == [four[3]]
    last_vectors: dict[tuple[str, int | None], bytes | None] = {}
    for message in deployment.read(deployment.vectors):
        last_vectors[key_of(message), message.partition()] = message.value()
    for record in four[:3]:
        assert [value for (key, _), value in last_vectors.items() if key == record] == [None] * 3
    assert service.metric("dedup_index_records") == 3

    # a restart, with its replay, brings nothing back
    service.kill()
    service = deployment.start().wait_ready()
    wait_until(lambda: service.metric("dedup_index_records") == 3, "replayed")
    deployment.send("quorra-5", person("Adaeze Brennan"))
    deployment.settle()
    assert sorted(map(sorted, assert_consistent(deployment).clusters.values())) == [[four[3], "quorra-5"]]
    assert service.stop() == 0


# c

SCRIPTS = ("عبد الرحمن الخليل", "王小明", "Ωμέγα Παπαδόπουλος", "Ǆ\u0301 ﬃ \u202eevil", "👩‍👩‍👧‍👦 🇦🇹", "nul \x00 inside", "कमला हैरिस", "ꙮ" * 3000)  # fmt: skip


def poison() -> list[tuple[str | bytes | None, bytes]]:
    """Messages that cannot be read, each in another way."""
    return [
        ("not-json", b"{name: Ada"),
        ("empty", b""),
        ("truncated", b'{"name": "Ada'),
        ("not-utf-8", b'{"name": "\xff\xfe"}'),
        ("lone-surrogate", b'{"name": "\\ud800"}'),
        ("nested", b"[" * 100_000),
        ("list", b"[1, 2]"),
        ("text", b'"Ada"'),
        (None, b'{"name": "Ada"}'),
        (b"", b'{"name": "Ada"}'),
        (b"\xff\xfe", b'{"name": "Ada"}'),
        ("k" * 257, b'{"name": "Ada"}'),
        ("name-is-object", b'{"name": {"first": "Ada"}}'),
        ("name-is-truth", b'{"name": true}'),
        ("times-are-number", b'{"login_times": 7}'),
        ("times-are-words", b'{"login_times": ["yesterday"]}'),
        ("key-is-not-id", b'{"id": "another", "name": "Ada"}'),
        ("id-is-number", b'{"id": 7, "name": "Ada"}'),
        ("large-and-bad", random.Random(1).randbytes(10_000_000)),
        ("as-large-as-can-be", random.Random(2).randbytes(MESSAGE_MAX_BYTES - 200)),
    ]


def test_what_cannot_be_read_goes_to_the_dead_letters_and_the_stream_goes_on(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.environment["DEDUP_TOPICS__PARTITIONS"] = "2"
    service = deployment.start().wait_ready()
    bad = poison()
    good: dict[str, object] = {f"script-{n}": person(text, text) for n, text in enumerate(SCRIPTS)}
    good["empty-strings"] = {"name": "", "city": " ", "browser": "", "os": "", "login_times": []}
    good["nulls"] = {"name": None, "city": None, "login_times": None}
    good["nothing"] = {}
    good["numbers"] = {"id": "numbers", "name": 7, "city": 1e300}
    good["unknown-fields"] = {**person("Ada"), "shoe size": [38]}
    good["large"] = {"name": "The title of " + "x" * 10_000_000}
    good["many-logins"] = {"name": "Ada", "login_times": ["2025-01-06T09:00:00Z"] * 100_000}
    pairs: list[tuple[str | bytes | None, object]] = [*bad, *good.items()]
    random.Random(3).shuffle(pairs)
    for key, value in pairs:
        deployment.send(key, value)
    deployment.settle()

    letters = deployment.dead_letters()
    assert Counter((m.key() or None, m.value()) for m in letters) == Counter(
        (key.encode() if isinstance(key, str) else key or None, value) for key, value in bad
    )
    arrived = {(m.partition(), m.offset()): m for m in deployment.read(deployment.input)}
    for letter in letters:
        headers = headers_of(letter)
        assert headers["dedup-stage"] == "encode"
        assert headers["dedup-topic"] == deployment.input
        assert headers["dedup-reason"]
        origin = arrived[int(headers["dedup-partition"]), int(headers["dedup-offset"])]
        assert origin.value() == letter.value()
        assert headers["dedup-timestamp"] == str(origin.timestamp()[1])
    assert {key_of(m) for m in deployment.read(deployment.vectors)} == good.keys()
    assert service.metric("dedup_rejected_total", stage="encode") == len(bad)
    assert service.metric("dedup_index_records") == len(good)

    deployment.send("late", person("王小明", "王小明"))
    deployment.settle()
    view = assert_consistent(deployment)
    assert view.assignments["late"] == view.assignments["script-1"]
    assert service.get("/readyz")[0] == 200
    assert service.stop() == 0


def test_too_many_dead_letters_in_a_row_stop_the_process_with_one_message(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.environment |= {
        "DEDUP_TOPICS__PARTITIONS": "1",
        "DEDUP_LIMITS__CONSECUTIVE_REJECTS": "20",
        "DEDUP_LIMITS__BATCH_RECORDS": "8",
    }
    service = deployment.start().wait_ready()
    for n in range(60):
        deployment.send(f"bad-{n}", b"this is no JSON, and names Ada Brennan")
    deployment.flush()
    assert service.wait() == 1
    message = [line for line in service.stderr.splitlines() if line.startswith("dedup: ")]
    assert len(message) == 1
    assert "messages in a row were rejected" in message[0]
    assert f"{deployment.input}.dlq" in message[0]
    assert "limits.consecutive_rejects" in message[0]
    assert "Traceback" not in service.stderr
    assert "Brennan" not in service.stderr
    assert 20 < len(deployment.dead_letters()) <= 60


# d


def test_a_service_killed_twice_on_the_way_ends_where_an_undisturbed_one_does(deploy: Deploy) -> None:
    records = list(signups(600, seed=5, duplicate_share=0.4))
    undisturbed, killed = deploy(suffix="-u"), deploy(suffix="-k")
    for deployment in (undisturbed, killed):
        # one partition: both see one order, so that the outcome can be compared to the letter
        deployment.environment |= {
            "DEDUP_TOPICS__PARTITIONS": "1",
            "DEDUP_LIMITS__BATCH_RECORDS": "8",
            **QUICK_SESSIONS,
        }
        assert deployment.run("topics", "create").returncode == 0
        deployment.send_signups(records)
        deployment.flush()
    calm = undisturbed.start()
    for share in (0.25, 0.6):
        service = killed.start(DEDUP_STATE__SNAPSHOT_RECORDS="100")
        wait_until(lambda share=share: killed.applied() >= share * 600, "on the way")  # type: ignore[misc]  # mypy cannot infer a default
        service.kill()
        assert killed.applied() < 600, "killed too late to prove anything"
    killed.start().wait_ready()
    undisturbed.settle()
    killed.settle()
    assert calm.stop() == 0
    assert killed.processes[-1].stop() == 0

    view = assert_consistent(killed)
    assert view.clusters
    assert sorted(map(sorted, view.clusters.values())) == sorted(
        map(sorted, assert_consistent(undisturbed).clusters.values())
    )
    messages = killed.read(f"{killed.name}.events")
    versions: dict[str, set[bytes]] = {}
    for message in messages:
        versions.setdefault(orjson.loads(value_of(message))["id"], set()).add(value_of(message))
    assert [event_id for event_id, values in versions.items() if len(values) > 1] == []
    assert retold(killed) == retold(undisturbed)


def retold(deployment: Deployment) -> list[list[dict[str, Any]]]:
    """The story of every cluster without the names that differ between deployments."""
    told = stories(deployment.events())
    # a cluster is named after its oldest member: by its first event's members
    names = {cid: f"cluster of {sorted(story[0]['data']['added'])}" for cid, story in told.items()}
    known = ("kind", "version", "added", "removed", "size", "members", "record_to_keep", "evidence", "config")
    renamed = []
    for story in told.values():
        lines = []
        for event in story:
            data = event["data"]
            line = {name: data.get(name) for name in known}
            line["merged_from"] = sorted(names[cid] for cid in data["merged_from"])
            line["merged_into"], line["split_from"] = names.get(data.get("merged_into")), names.get(data.get("split_from"))  # fmt: skip
            lines.append({**line, "time": event["time"], "ingested": event["ingestedtime"]})
        renamed.append(lines)
    return sorted(renamed, key=repr)


# e

SCOPES = ("at", "be", "ch", "de", "es", "fr", "gr", "hu")
PEOPLE = (
    ("Adaeze Brennan", "Cork"),
    ("Wilhelm Żukowski", "Gdańsk"),
    ("Thandiwe Ndiaye", "Dakar"),
    ("Xiomara Escobar", "Medellín"),
)


def test_encoder_and_matchers_apart_keep_scopes_apart_and_one_takes_over_from_a_dead_one(deploy: Deploy) -> None:
    fields = {**yaml.safe_load(PERSON.read_text())["fields"], "country": {"type": "text"}}
    deployment = deploy(fields=fields, scope="country")
    deployment.environment |= {
        "DEDUP_TOPICS__PARTITIONS": "6",
        **QUICK_SESSIONS,
        "DEDUP_LIMITS__BATCH_RECORDS": "16",
    }
    encoder = deployment.start("encode").wait_ready()
    matchers = [
        deployment.start("match", DEDUP_STATE__DIRECTORY=str(deployment.folder / f"state-{n}")).wait_ready()
        for n in range(2)
    ]
    wait_until(lambda: {m.metric("dedup_assigned_partitions", stage="match") for m in matchers} == {3.0}, "shared")

    def send(rounds: range) -> None:
        for n in rounds:
            for scope in SCOPES:
                for number, (name, city) in enumerate(PEOPLE):
                    deployment.send(f"{scope}.{number}.{n}", person(name, city, country=scope))

    def expected(rounds: int) -> list[list[str]]:
        return sorted(
            sorted(f"{s}.{number}.{n}" for n in range(rounds)) for s in SCOPES for number in range(len(PEOPLE))
        )

    send(range(3))
    deployment.settle()
    view = assert_consistent(deployment, SCOPES)
    assert sorted(map(sorted, view.clusters.values())) == expected(3)
    assert sum(m.metric("dedup_index_records") for m in matchers) == 3 * len(SCOPES) * len(PEOPLE)
    assert all(m.metric("dedup_index_records") > 0 for m in matchers)
    assert encoder.metric("dedup_index_records") == 0

    matchers[0].kill()
    send(range(3, 6))
    deployment.settle()
    view = assert_consistent(deployment, SCOPES)
    assert sorted(map(sorted, view.clusters.values())) == expected(6)
    for event in deployment.events():
        data = event["data"]
        assert {record.split(".")[0] for record in (*data["added"], *data["removed"])} <= {data["scope"]}
    for topic in ("events", "clusters"):
        for message in deployment.read(f"{deployment.name}.{topic}"):
            said = orjson.loads(value_of(message))
            assert message.partition() == scope_partition(said.get("data", said)["scope"], 6)
    assert matchers[1].metric("dedup_assigned_partitions", stage="match") == 6
    assert matchers[1].metric("dedup_index_records") == 6 * len(SCOPES) * len(PEOPLE)
    assert (encoder.stop(), matchers[1].stop()) == (0, 0)


# f


def test_a_short_stream_over_a_redis_cluster(
    kafka_servers: str, redis_cluster_url: str, unique: str, tmp_path: Path
) -> None:
    deployment = ClusterDeployment(unique[-40:].strip("-"), kafka_servers, redis_cluster_url, tmp_path, PERSON)
    deployment.environment |= {"DEDUP_TOPICS__PARTITIONS": "2", "DEDUP_REDIS__CLUSTER": "true"}
    try:
        service = deployment.start().wait_ready()
        deployment.send_signups(list(signups(150, seed=3, duplicate_share=0.5)))
        deployment.settle()
        assert assert_consistent(deployment).clusters
        assert service.stop() == 0
    finally:
        deployment.close()


# g

MARKS = ("Zqnamemark", "Zqcitymark", "zqredismark", "zqsaslmark", "zqkeymark", "zqrotationmark")


def test_no_secret_and_no_personal_field_leaves_the_process(
    kafka_servers: str, redis_server: Server, unique: str, tmp_path: Path
) -> None:
    deployment = Deployment(unique[-40:].strip("-"), kafka_servers, redis_server.address, tmp_path, PERSON)

    def let_in() -> None:
        with deployment.redis() as client:
            client.acl_setuser("matcher", enabled=True, passwords=["+zqredismark"], keys=["*"], commands=["+@all"])

    let_in()
    deployment.environment |= {
        "DEDUP_TOPICS__PARTITIONS": "1",
        "DEDUP_REDIS__URL": redis_server.address.replace("//", "//matcher:zqredismark@"),
        "DEDUP_KAFKA__PROPERTIES__SASL_PASSWORD": "zqsaslmark",  # unused without SASL, and known to the clients
        "DEDUP_PRIVACY__KEY": "zqkeymark",
        "DEDUP_PRIVACY__ROTATION_KEY": "zqrotationmark-of-32-characters",
        "DEDUP_LOG__LEVEL": "debug",
    }
    try:
        service = deployment.start().wait_ready()
        for n in range(20):
            deployment.send(f"record-{n}", person(f"Zqnamemark Brennan {n // 4}", "Zqcitymark"))
        deployment.send("bad", b'{"name": ["Zqnamemark"], "city": "Zqcitymark"}')
        deployment.send("worse", b'{"name": "Zqnamemark')
        deployment.settle()
        assert assert_consistent(deployment).clusters
        answers = [service.get(path)[1] for path in ("/metrics", "/livez", "/readyz")]
        redis_server.kill()
        deployment.send("later", person("Zqnamemark Brennan", "Zqcitymark"))
        deployment.flush()
        wait_until(lambda: service.get("/readyz")[0] == 503, "says that it waits")
        answers.append(service.get("/readyz")[1])
        assert "Redis" in answers[-1]
        redis_server.start()
        let_in()  # users live in memory
        deployment.settle()
        assert service.stop() == 0

        wrong = {"DEDUP_REDIS__URL": redis_server.address.replace("//", "//matcher:zqredismark-wrong@")}
        refused = deployment.start(**wrong)
        wait_until(lambda: "NOAUTH" in refused.get("/readyz")[1] or "password" in refused.get("/readyz")[1], "refused")
        answers.append(refused.get("/readyz")[1])
        assert refused.stop() == 0
        said = "\n".join([*answers, service.stdout, service.stderr, refused.stdout, refused.stderr])
        topics = [deployment.vectors, f"{deployment.name}.events", f"{deployment.name}.possible"]
        topics.append(f"{deployment.name}.clusters")
        sent = b"\n".join(m.value() or b"" for topic in topics for m in deployment.read(topic))
        letters = repr([headers_of(m) for m in deployment.dead_letters()])
        everything = (said + sent.decode(errors="replace") + letters + deployment.dump().decode()).lower()
        assert [mark for mark in MARKS if mark.lower() in everything] == []
        assert "Traceback" not in said
    finally:
        deployment.close()


def test_the_crm_subscriber_keeps_in_step_with_the_stream(deploy: Deploy, tmp_path: Path) -> None:
    deployment = deploy()
    deployment.environment |= QUICK_SESSIONS
    database = tmp_path / "crm.sqlite"
    records = list(signups(300, seed=31))
    service = deployment.start().wait_ready()
    deployment.send_signups(records[:150])
    deployment.settle()
    follow(deployment, database)
    assert crm(database) == deployment.assignments() != {}

    deployment.send_signups(records[150:])
    deployment.flush()
    service.kill()  # what it had sent and not acknowledged comes again
    deployment.start().wait_ready()
    for record in records[:40]:
        deployment.send(record.id, None)
    deployment.settle()
    follow(deployment, database)
    assert crm(database) == deployment.assignments()
    assert not crm(database).keys() & {record.id for record in records[:40]}
    follow(deployment, database)
    assert crm(database) == deployment.assignments()


def follow(deployment: Deployment, database: Path) -> None:
    """Run the example to the end of the events."""
    topics = ["--events", f"{deployment.name}.events", "--states", f"{deployment.name}.clusters"]
    where = ["--bootstrap-servers", deployment.servers, *topics]
    program = [sys.executable, str(ROOT / "examples" / "crm_subscriber.py")]
    subprocess.run([*program, *where, "--database", str(database), "--once"], check=True, timeout=60)


def crm(database: Path) -> dict[str, str]:
    """Record → cluster, as the CRM has it."""
    with closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute("SELECT record_id, cluster_id FROM record_cluster"))
