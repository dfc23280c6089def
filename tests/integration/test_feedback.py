"""What people say of pairs, through the real service: obeyed at once, attributed, and obeyed again by every rebuild."""

import json
import shutil
from collections.abc import Mapping
from typing import Any

import orjson

from tests.deployment import DAY, Deployment, Process, headers_of, value_of, wait_until
from tests.stories import Deploy

BY = "Ana, data quality"


def person(name: str = "Adaeze Brennan", city: str = "Wien", **more: object) -> dict[str, object]:
    return {"name": name, "city": city, **DAY, **more}


def say(deployment: Deployment, a: str, b: str, verdict: str, *arguments: str) -> None:
    done = deployment.run("feedback", a, b, f"--{verdict}", "--by", BY, *arguments)
    assert done.returncode == 0, done.stderr
    deployment.settle()


def possible(deployment: Deployment) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Pairs that a person is asked about now, with the last event of each."""
    last: dict[tuple[str, str], Mapping[str, Any]] = {}
    for event in map(orjson.loads, map(value_of, deployment.read(f"{deployment.name}.possible"))):
        pair = event["data"]["evidence"]
        last[pair["a"], pair["b"]] = event["data"]
    return {pair: data for pair, data in last.items() if data["kind"] == "found"}


def held(deployment: Deployment) -> dict[tuple[str, str], str]:
    """Those of them that are above the threshold, and what holds them back."""
    return {pair: d["evidence"]["held"] for pair, d in possible(deployment).items() if "held" in d["evidence"]}


def rebuild(deployment: Deployment, service: Process, records: int) -> Process:
    """Stop, forget all that Redis and the disk hold, make it again from the topics, start, and wait for the index."""
    assert service.stop() == 0
    with deployment.redis() as client:
        for key in client.scan_iter(f"{deployment.name}:*"):
            client.delete(key)
    shutil.rmtree(deployment.folder / "state")
    made = deployment.run("rebuild")
    assert made.returncode == 0, made.stderr
    service = deployment.start().wait_ready()
    wait_until(lambda: service.metric("dedup_index_records") == records, "replayed")
    return service


def together(deployment: Deployment, scope: str = "default") -> list[list[str]]:
    """The clusters that Redis holds."""
    clusters: dict[str, list[str]] = {}
    for record, cid in deployment.assignments(scope).items():
        clusters.setdefault(cid, []).append(record)
    return sorted(map(sorted, clusters.values()))


def test_a_wrong_merge_is_undone_by_one_message_and_never_comes_back(deploy: Deploy) -> None:
    deployment = deploy()
    service = deployment.start().wait_ready()
    for record in ("father", "son"):
        deployment.send(record, person())
    deployment.settle()
    assert together(deployment) == [["father", "son"]]

    say(deployment, "son", "father", "different")
    assert together(deployment) == []
    last = deployment.events()[-1]["data"]
    assert (last["kind"], sorted(last["removed"])) == ("dissolved", ["father", "son"])
    assert BY in json.dumps(last)
    assert possible(deployment) == {}, "who was told does not ask again"

    deployment.send("son", person())
    deployment.send("father", person())
    deployment.settle()
    assert together(deployment) == []

    service = rebuild(deployment, service, 2)
    assert together(deployment) == []
    deployment.send("son", person())
    deployment.settle()
    assert together(deployment) == []
    assert service.metric("dedup_rejected_total") == 0

    say(deployment, "father", "son", "undecided")
    assert together(deployment) == [["father", "son"]]
    rebuild(deployment, service, 2)
    assert together(deployment) == [["father", "son"]]


def test_a_word_holds_for_records_that_come_after_it_also_in_a_rebuild(deploy: Deploy) -> None:
    deployment = deploy(fields=SCOPED, scope="country")
    service = deployment.start().wait_ready()
    say(deployment, "r1", "r2", "different", "--scope", "at")
    for record in ("r1", "r2"):
        deployment.send(record, person(country="at"))
    deployment.settle()
    assert together(deployment, "at") == []
    rebuild(deployment, service, 2)
    assert together(deployment, "at") == []


SCOPED = {
    "name": {"type": "text"},
    "city": {"type": "text"},
    "browser": {"type": "text"},
    "os": {"type": "text"},
    "login_times": {"type": "timestamps"},
    "country": {"type": "text"},
}


def test_records_that_no_model_would_join_are_joined_by_a_word(deploy: Deploy) -> None:
    deployment = deploy()
    service = deployment.start().wait_ready()
    deployment.send("r1", person("Adaeze Brennan", "Wien"))
    deployment.send("r2", person("Tomás Villanueva", "Lima"))
    deployment.settle()
    assert together(deployment) == []

    say(deployment, "r1", "r2", "same")
    assert together(deployment) == [["r1", "r2"]]
    last = deployment.events()[-1]["data"]
    assert (last["kind"], last["added"]) == ("created", ["r1", "r2"])
    assert BY in json.dumps(last)
    service = rebuild(deployment, service, 2)
    assert together(deployment) == [["r1", "r2"]]

    say(deployment, "r1", "r2", "undecided")
    assert together(deployment) == []


def test_a_record_like_two_that_differ_is_for_a_person_to_decide(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.start().wait_ready()
    for record in ("father", "son"):
        deployment.send(record, person())
    deployment.settle()
    say(deployment, "father", "son", "different")
    deployment.send("x", person())
    deployment.settle()
    assert held(deployment) == {("father", "x"): "ambiguous", ("son", "x"): "ambiguous"}
    assert together(deployment) == []

    say(deployment, "x", "son", "same")
    assert together(deployment) == [["son", "x"]]
    assert held(deployment) == {("father", "x"): "ruled_apart"}
    say(deployment, "father", "x", "different")
    assert held(deployment) == {}


def words_left(deployment: Deployment) -> int:
    """Words of people that compaction will leave in `vectors`."""
    last = {(m.key(), m.partition()): m.value() for m in deployment.read(deployment.vectors)}
    return sum(isinstance(key, bytes) and key[:1] == b"\xff" and value is not None for (key, _), value in last.items())


def test_an_erasure_ends_the_words_on_a_record_everywhere(deploy: Deploy) -> None:
    deployment = deploy()
    service = deployment.start().wait_ready()
    for record in ("father", "son"):
        deployment.send(record, person())
    deployment.settle()
    say(deployment, "father", "son", "different")
    assert words_left(deployment) == 1
    deployment.send("father", None)
    deployment.settle()
    wait_until(lambda: words_left(deployment) == 0, "a null value for the word")
    deployment.settle()
    assert b"father" not in deployment.dump()

    say(deployment, "father", "son", "same")  # too late
    wait_until(lambda: words_left(deployment) == 0, "a null value for the late word")
    deployment.settle()
    assert b"father" not in deployment.dump()
    assert service.metric("dedup_verdicts_total", outcome="void") == 1

    service = rebuild(deployment, service, 1)
    deployment.settle()
    assert b"father" not in deployment.dump(), "nothing brings it back"
    deployment.send("father", person())
    deployment.settle()
    assert together(deployment) == [["father", "son"]], "another record, of which nobody said anything"


def test_a_word_that_is_none_is_a_dead_letter_and_one_for_another_profile_is_passed_over(deploy: Deploy) -> None:
    deployment = deploy()
    service = deployment.start().wait_ready()
    words = [
        b"?",
        {"a": "r1", "b": "r2", "verdict": "different", "by": BY, "profile": "another"},
        {"a": "r1", "b": "r2", "verdict": "different", "by": BY, "profile": deployment.name},
    ]
    for word in words:
        deployment.send("r1|r2", word, topic=deployment.feedback)
    for record in ("r1", "r2"):
        deployment.send(record, person())
    deployment.settle()

    (letter,) = deployment.read(f"{deployment.feedback}.dlq")
    assert value_of(letter) == b"?"
    assert headers_of(letter)["dedup-reason"].startswith("not JSON")
    assert deployment.dead_letters() == []
    counts = {says: service.metric("dedup_feedback_total", says=says) for says in ("different", "other_profile")}
    assert counts == {"different": 1, "other_profile": 1}
    assert together(deployment) == []
