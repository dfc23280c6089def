"""`dedup run` killed on its way: who goes on ends where an undisturbed one does."""

from typing import Any

import orjson
import yaml

from consumer.names import scope_partition
from consumer.simulate import signups
from tests.deployment import PERSON, QUICK_SESSIONS, Deployment, value_of, wait_until
from tests.stories import Deploy, assert_consistent, person, stories


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
