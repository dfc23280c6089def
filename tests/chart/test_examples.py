"""What `deploy/helm/examples` shows is what the chart takes and what the roles need."""

import itertools

import pytest
import yaml

from consumer.acls import Grant, kafka_grants
from consumer.profile import load_profile
from consumer.settings import load_settings
from tests.chart.render import CHART, MINIMAL, Object, objects, pods, rendered

pytestmark = pytest.mark.usefixtures("helm")
EXAMPLES = CHART.parent / "examples"
USERS = {"encoder": "encode", "matcher": "match", "topics": "topics", "doctor": "doctor"}
"""Container → role."""


def strimzi_users() -> dict[str, Object]:
    text = (EXAMPLES / "strimzi-users.yaml").read_text(encoding="utf-8")
    return {each["metadata"]["name"]: each for each in yaml.safe_load_all(text)}


def test_strimzis_users_have_the_rights_of_their_roles_and_no_others() -> None:
    needed = kafka_grants(load_settings(None, {"topics.create": False}), load_profile("signup"))
    for name, user in strimzi_users().items():
        granted = set()
        for acl, operation in ((a, o) for a in user["spec"]["authorization"]["acls"] for o in a["operations"]):
            resource = acl["resource"]
            kind = {"transactionalId": "transactional-id"}.get(resource["type"], resource["type"])
            granted.add(Grant(kind, resource["name"], operation, resource["patternType"] == "prefix"))
        assert granted == set(needed[name.removeprefix("dedup-")])


def test_with_strimzi_every_pod_is_the_user_of_its_role() -> None:
    found = pods(objects(MINIMAL, also=EXAMPLES / "strimzi.yaml"))
    containers = itertools.chain.from_iterable(pod["spec"]["containers"] for pod in found.values())
    seen = {}
    for container in containers:
        env = {each["name"]: each for each in container.get("env", [])}
        if user := env.get("DEDUP_KAFKA__PROPERTIES__SASL_USERNAME"):
            password = env["DEDUP_KAFKA__PROPERTIES__SASL_PASSWORD"]["valueFrom"]["secretKeyRef"]
            assert password == {"name": user["value"], "key": "password"}  # as Strimzi names them
            seen[container["name"]] = user["value"]
    assert seen == {container: f"dedup-{role}" for container, role in USERS.items()}
    assert set(seen.values()) == strimzi_users().keys()


def test_the_redis_example_renders_with_the_authority_where_its_address_says() -> None:
    text = (EXAMPLES / "redis.yaml").read_text(encoding="utf-8")
    assert "ssl_ca_certs=/etc/dedup/redis-tls/ca.crt" in text
    assert "path: redis-tls/ca.crt" in rendered(MINIMAL, also=EXAMPLES / "redis.yaml")
