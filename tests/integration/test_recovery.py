"""Redis is lost, or wrong: `dedup verify` says so, `dedup rebuild` makes it again, and the stream goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from consumer.errors import SettingsError
from consumer.recovery.migrate import report
from consumer.recovery.rebuild import rebuild
from consumer.recovery.verify import Verified, verify
from consumer.settings import Settings, load_settings
from tests.deployment import DAY, NOW_MS, PERSON, QUICK_SESSIONS, Deployment, redis_content, wait_until

TOPICS = {"DEDUP_TOPICS__PARTITIONS": "2", "DEDUP_TOPICS__RETENTION_HOURS": "-1"}
"""For ever, since the times of the messages are long past."""


@pytest.fixture
def deployment(unique: str, kafka_servers: str, redis_url: str, tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(unique, kafka_servers, redis_url, tmp_path, PERSON)
    made.environment |= {**QUICK_SESSIONS, **TOPICS}
    yield made
    made.close()
    with made.redis() as client:
        for key in list(client.scan_iter(f"{unique}-2:*", count=1000)):
            client.delete(key)


def send(deployment: Deployment, first: int, last: int) -> None:
    """Three copies of each of some people; now and then one of them goes, or comes again."""
    for n in range(first, last):
        person = {"name": f"{'abcdefghij'[n % 10] * 4} {'klmnopqrst'[n // 10 % 10] * 5}", "city": "Madrid", **DAY}
        for copy in range(3):
            deployment.send(f"r{n}-{copy}", person, NOW_MS + 10 * n + copy)
        if n % 5 == 0:
            deployment.send(f"r{n}-0", None, NOW_MS + 10 * n + 5)
        if n % 7 == 0:
            deployment.send(f"r{n}-1", {**person, "city": "Madrit"}, NOW_MS + 10 * n + 6)


def say(deployment: Deployment, a: str, b: str, verdict: str) -> None:
    word = {"a": a, "b": b, "verdict": verdict, "by": "steward", "profile": deployment.name}
    deployment.send(f"{a}|{b}", word, NOW_MS, deployment.feedback)


def state(deployment: Deployment) -> dict[str, Any]:
    """Every key that a rebuild must bring back."""
    apart = (b":epochs", b":rebuild", b":head", b":outbox")
    with deployment.redis() as client:
        keys = [key for key in client.scan_iter(f"{deployment.name}:*", count=1000) if not key.endswith(apart)]
        return {key.decode(): redis_content(client, key) for key in keys}


def lose(deployment: Deployment) -> None:
    with deployment.redis() as client:
        for key in list(client.scan_iter(f"{deployment.name}:*", count=1000)):
            client.delete(key)


def clusters(deployment: Deployment) -> dict[str, list[str]]:
    """What is told now: cluster → members."""
    found = deployment.states().items()
    return {cid: said["members"] for cid, said in found if said is not None and said["members"]}


def successor(deployment: Deployment, folder: Path, vectors: str) -> dict[str, str]:
    """The environment of a deployment with other models, in a vectors topic, a prefix and a folder of its own."""
    content = yaml.safe_load(Path(deployment.environment["DEDUP_PROFILE"]).read_text())
    city = {"encoder": "lexical", "fields": ["city"], "dim": 64, "weight": 1}
    profile = folder / "successor.yaml"
    profile.write_text(yaml.safe_dump({**content, "vectors": vectors, "modalities": {"city": city}}, sort_keys=False))
    return {
        "DEDUP_PROFILE": str(profile),
        "DEDUP_REDIS__PREFIX": f"{deployment.name}-2",
        "DEDUP_STATE__DIRECTORY": str(folder / "state-2"),
    }


def settings_of(deployment: Deployment, **environment: str) -> Settings:
    """What a command of this deployment reads from its environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**deployment.environment, **environment}.items():
            patch.setenv(name, value)
        return load_settings()


def quiet(what: str, done: int, total: int) -> None:
    """Nobody watches."""


def switched(deployment: Deployment, *options: str, **environment: str) -> dict[str, Any]:
    done = deployment.run("migrate", "switch", "--json", "--wait", "30", *options, **environment)
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = orjson.loads(done.stdout)
    return made


def settle(deployment: Deployment, vectors: str) -> None:
    """Wait until all is through the encoders and matchers of another vectors topic."""
    deployment.flush()
    ends = deployment.ends(deployment.input)
    wait_until(lambda: deployment.committed(f"{vectors}.encode", deployment.input) == ends, "the new encoders")
    wait_until(lambda: deployment.committed("match", vectors) == deployment.ends(vectors), "the new matchers")


def verified(deployment: Deployment, **environment: str) -> Verified:
    """In this process, which spares the start of another."""
    return verify(settings_of(deployment, **environment), 30.0, quiet)


def test_a_lost_redis_is_made_again_and_the_stream_goes_on(deployment: Deployment) -> None:
    service = deployment.start().wait_ready()
    send(deployment, 0, 20)
    say(deployment, "r1-0", "r2-0", "same")
    say(deployment, "r3-0", "r3-1", "different")
    deployment.settle()
    assert verified(deployment).differences == {}  # beside the running service
    refused = deployment.run("rebuild", "--replace")
    assert refused.returncode == 1
    assert "has members: stop the matchers" in refused.stderr
    assert service.stop() == 0
    before, seen = state(deployment), verified(deployment)
    assert (seen.differences, seen.moved, seen.snapshots) == ({}, False, 2)

    lose(deployment)
    told = deployment.run("verify", "--json")
    assert told.returncode == 1
    assert orjson.loads(told.stdout)["differences"].keys() == {"told_only", "applied_behind"}
    done = deployment.run("rebuild", "--json")
    assert done.returncode == 0, done.stderr
    made = orjson.loads(done.stdout)
    assert (made["records"], made["differing"], made["lost"]) == (56, 0, 0)
    assert state(deployment) == before
    settings = settings_of(deployment)
    with pytest.raises(SettingsError, match="say --replace"):
        rebuild(settings, replace=False, to_end=False, drop_missing=False, progress=quiet)

    with deployment.redis() as client:  # as an interrupted one leaves it
        client.hset(f"{deployment.name}:{{{deployment.name}}}:rebuild", "running", 1)
    service = deployment.start("match")
    assert service.wait() == 1
    assert "run it again: `dedup rebuild --replace`" in service.stderr
    rebuild(settings, replace=True, to_end=False, drop_missing=False, progress=quiet)
    assert state(deployment) == before

    service = deployment.start().wait_ready()
    send(deployment, 10, 25)
    say(deployment, "r3-0", "r3-1", "undecided")
    deployment.settle()
    assert service.stop() == 0
    assert verified(deployment).differences == {}
    assert deployment.view().gaps == []


def test_new_models_take_over_without_a_break_and_give_back(deployment: Deployment, tmp_path: Path) -> None:
    old, new = deployment.vectors, f"{deployment.vectors}.2"
    coming = successor(deployment, tmp_path, new)
    service, encoders = deployment.start("match"), deployment.start("encode")
    service.wait_ready()
    send(deployment, 0, 20)
    say(deployment, "r1-0", "r2-0", "same")
    deployment.settle()
    told = clusters(deployment)
    with pytest.raises(SettingsError, match="is the vectors topic of the profile itself"):
        report(settings_of(deployment), old, quiet)

    deployment.start("encode", **coming).wait_ready()  # beside those in use, which go on, so that there is a way back
    settings = settings_of(deployment, **coming)
    wait_until(lambda: report(settings, old, quiet).behind == 0, "the new encoders to catch up")
    done = deployment.run("migrate", "report", "--json", "--from", old, **coming)
    assert done.returncode == 0, done.stderr
    seen = orjson.loads(done.stdout)
    assert (seen["missing"], seen["words"], seen["outlook"]["records"]) == (0, 1, 56)
    assert seen["outlook"]["clusters_now"] == len(told)
    assert seen["outlook"]["merges"] > 0  # the new models see nothing but the city

    assert service.stop() == 0
    switched(deployment, "--from", old, **coming)
    assert clusters(deployment) == told  # a switch tells nobody anything
    service = deployment.start("match", **coming).wait_ready()
    send(deployment, 20, 24)
    settle(deployment, new)
    after = clusters(deployment)
    assert after.keys() & told.keys()
    assert any({"r1-0", "r2-0"} <= set(members) for members in after.values())
    assert verified(deployment, **coming).differences == {}
    assert service.stop() == 0

    assert not encoders.ended
    switched(deployment, "--from", new, "--replace")
    service = deployment.start("match").wait_ready()
    send(deployment, 24, 26)
    deployment.settle()
    assert service.stop() == 0
    assert verified(deployment).differences == {}
    assert deployment.view().gaps == []


def test_a_new_key_keeps_clusters_and_ids(deployment: Deployment, tmp_path: Path) -> None:
    old, new = deployment.vectors, f"{deployment.vectors}.2"
    content = yaml.safe_load(Path(deployment.environment["DEDUP_PROFILE"]).read_text())
    profile = tmp_path / "rekeyed.yaml"
    profile.write_text(yaml.safe_dump({**content, "vectors": new}, sort_keys=False))
    coming = {
        **successor(deployment, tmp_path, new),
        "DEDUP_PROFILE": str(profile),
        "DEDUP_PRIVACY__KEY": "another key",
    }
    service = deployment.start().wait_ready()
    send(deployment, 0, 20)
    deployment.settle()
    told = clusters(deployment)

    encoders = deployment.start("encode", **coming).wait_ready()
    wait_until(lambda: report(settings_of(deployment, **coming), old, quiet).behind == 0, "the new encoders")
    assert service.stop() == 0
    switched(deployment, "--from", old, **coming)
    assert clusters(deployment) == told
    service = deployment.start("match", **coming).wait_ready()
    send(deployment, 5, 22)  # hashes of another key are a little more and less alike, so clusters change a little
    settle(deployment, new)
    assert len(clusters(deployment).keys() & told.keys()) >= len(told) // 2
    assert verified(deployment, **coming).differences == {}
    assert (service.stop(), encoders.stop()) == (0, 0)
    assert deployment.view().gaps == []
