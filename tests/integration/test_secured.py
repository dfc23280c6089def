"""On servers that trust nobody: TLS, passwords, and for each role the rights of `dedup acls` alone."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from consumer.errors import DedupError
from consumer.explain import explain_stored
from consumer.settings import load_settings
from consumer.simulate import signups
from consumer.wiring import check_brokers
from tests.secure_deployment import PASSWORD, SecureDeployment
from tests.secure_services import Authority, SecureKafka, SecureRedis


@pytest.fixture
def deployment(
    secure_kafka: SecureKafka, secure_redis: SecureRedis, unique: str, tmp_path: Path
) -> Iterator[SecureDeployment]:
    made = SecureDeployment(f"s{unique[-8:]}", secure_kafka, secure_redis, tmp_path)
    try:
        yield made
    finally:
        made.close()


def test_every_role_does_its_work_with_its_rights_alone(deployment: SecureDeployment) -> None:
    role = deployment.as_role
    made = deployment.run("topics", "create", "--json", **role("topics"))
    assert (made.returncode, set(json.loads(made.stdout).values())) == (0, {"created"})
    encoder = deployment.start("encode", **role("encode"))
    matcher = deployment.start("match", **role("match"))
    encoder.wait_ready()
    matcher.wait_ready()
    deployment.send_signups(list(signups(120, seed=17, duplicate_share=0.5)))
    deployment.send("bad", b"no JSON")
    deployment.send("bad", b"no JSON", topic=deployment.feedback)
    deployment.settle()
    assert deployment.view().assignments == deployment.assignments() != {}
    assert len(deployment.dead_letters()) == 1

    together, *_ = deployment.view().clusters.values()
    a, b, *_ = sorted(together)
    calls = [("explain", ["explain", a, b, "--json"]), ("erase", ["erase", a])]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda call: deployment.run(*call[1], **role(call[0])), calls))
    assert [(call.returncode, call.stderr) for call in done] == [(0, "")] * len(calls)
    deployment.settle()
    assert a not in deployment.assignments()
    assert (encoder.stop(), matcher.stop()) == (0, 0)
    said = encoder.stderr + matcher.stderr
    assert PASSWORD not in said
    assert "Traceback" not in said
    assert {path.stat().st_mode & 0o077 for path in (deployment.folder / "state").rglob("*")} == {0}


def test_who_is_not_let_in_is_told_why(deployment: SecureDeployment, tmp_path: Path) -> None:
    """One message and exit code 1; a matcher that Redis refuses waits, and says so, as with every trouble of Redis."""
    user, stranger = f"{deployment.name}-match", Authority(tmp_path)
    kafka, redis = deployment.secure_kafka, deployment.secure_redis
    right, wrong = kafka.properties(user, PASSWORD), kafka.properties(user, "wrong")
    for properties, advice in (
        (wrong, "check the sasl"),
        ({**right, "ssl.ca.location": str(stranger.file)}, "check the ssl"),
        ({**right, "security.protocol": "PLAINTEXT"}, "security.protocol"),
    ):
        where = {"kafka.bootstrap_servers": kafka.address, "kafka.properties": properties}
        with pytest.raises(DedupError, match=advice):
            check_brokers(load_settings(None, where))
    for url, advice in (
        (redis.url(user, "wrong"), "user name or password"),
        (redis.url(user, PASSWORD, stranger), "certificate"),
        (redis.url(f"{deployment.name}-doctor", PASSWORD), "the ACL of this user"),
    ):
        with pytest.raises(DedupError, match=advice):
            explain_stored(load_settings(None, {"redis.url": url}), ["r1"], None)

    deployment.create_topics()
    calls = {
        "check the sasl": deployment.run("run", "--role", "match", **deployment.as_role("match", "wrong")),
        "is refused": deployment.run("run", "--role", "match", **deployment.as_role("feedback")),
    }
    for advice, done in calls.items():
        said = [line for line in done.stderr.splitlines() if line.startswith("dedup: ")]
        assert (done.returncode, done.stdout, len(said)) == (1, "", 1), done.stderr
        assert advice in said[0]
        assert "Traceback" not in done.stderr
        assert PASSWORD not in done.stderr
