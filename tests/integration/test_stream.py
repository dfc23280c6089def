"""`dedup run` as an operator starts it, on a real Kafka and Redis: what it finds, keeps and forgets."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from consumer.adapters.kafka_topics import describe
from consumer.evaluation import pairwise
from consumer.sections import MESSAGE_MAX_BYTES
from consumer.simulate import signups
from tests.deployment import PERSON, QUICK_SESSIONS, SIGNUP, ClusterDeployment, Deployment, key_of, wait_until
from tests.stories import Deploy, assert_consistent, person, stories


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
