"""What the pods may do and speak to, and what they know: for every file of values in `ci/`."""

from pathlib import Path

import pytest

from consumer.settings import load_settings
from tests.chart.render import CI, Object, containers, objects, one, pods, roles, selected, settings_file

pytestmark = pytest.mark.usefixtures("helm")
CLUSTER_WIDE = frozenset({"Namespace", "ClusterRole", "CustomResourceDefinition"})

# --- what a pod may do ------------------------------------------------------------------------------------------------


def test_every_pod_is_within_pod_security_restricted(values: Path) -> None:
    for pod in pods(objects(values)).values():
        spec, security = pod["spec"], pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 10_000
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"projected", "emptyDir", "persistentVolumeClaim"}


def test_every_container_has_a_read_only_root_and_no_rights(values: Path) -> None:
    for container in containers(objects(values)):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_no_pod_has_a_token(values: Path) -> None:
    found = objects(values)
    assert all(pod["spec"]["automountServiceAccountToken"] is False for pod in pods(found).values())
    assert all(each["automountServiceAccountToken"] is False for each in found if each["kind"] == "ServiceAccount")


def test_every_container_says_what_it_needs_at_least_and_at_most(values: Path) -> None:
    for container in containers(objects(values)):
        for bound in ("requests", "limits"):
            assert {"cpu", "memory", "ephemeral-storage"} <= container["resources"][bound].keys()


def test_what_is_written_to_is_a_volume_with_a_bound(values: Path) -> None:
    for pod in pods(objects(values)).values():
        bounded = {v["name"] for v in pod["spec"]["volumes"] if "sizeLimit" in v.get("emptyDir", {})}
        unbounded = {v["name"] for v in pod["spec"]["volumes"] if "emptyDir" in v} - bounded
        assert not unbounded
        assert "tmp" in bounded


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_the_chart_makes_no_secret_and_no_role(values: Path) -> None:
    kinds = {each["kind"] for each in objects(values)}
    assert not kinds & ({"Secret", "Role", "RoleBinding", "ClusterRoleBinding"} | CLUSTER_WIDE)


def test_secrets_come_from_the_named_secrets_and_only_where_they_are_used() -> None:
    found = objects(CI["tls-sasl"])
    assert {role: _secret_env(found, name) for role, name in roles(found).items() if role != "test"} == {
        "encoder": {**_sasl("dedup-kafka-encode"), **_privacy()},
        "matcher": {**_sasl("dedup-kafka-match"), **_privacy(), "DEDUP_REDIS__URL": ("dedup-redis-match", "url")},
        "topics": _sasl("dedup-kafka-topics"),
    }
    assert _secret_env(found, "dedup-dedup-consumer-test-doctor") == {
        **_sasl("dedup-kafka"),
        **_privacy(),
        "DEDUP_REDIS__URL": ("dedup-redis", "url"),
    }
    assert _secret_env(found, "dedup-dedup-consumer-test-ready") == {}


def _sasl(secret: str) -> dict[str, tuple[str, str]]:
    prefix = "DEDUP_KAFKA__PROPERTIES__SASL_"
    return {f"{prefix}{name.upper()}": (secret, name) for name in ("username", "password")}


def _privacy() -> dict[str, tuple[str, str]]:
    keys = {"KEY": "key", "ROTATION_KEY": "rotation-key"}
    return {f"DEDUP_PRIVACY__{name}": ("dedup-privacy", key) for name, key in keys.items()}


def _secret_env(found: list[Object], name: str) -> dict[str, tuple[str, str]]:
    env = pods(found)[name]["spec"]["containers"][0].get("env", [])
    refs = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in env if "secretKeyRef" in each["valueFrom"]}
    return {variable: (ref["name"], ref["key"]) for variable, ref in refs.items()}


def test_the_secret_environment_is_what_the_service_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in _secret_env(objects(CI["tls-sasl"]), "dedup-dedup-consumer-matcher"):
        monkeypatch.setenv(variable, f"redis://{variable.lower()}")
    read = load_settings()
    assert read.redis.url.get_secret_value() == "redis://dedup_redis__url"
    assert read.privacy.key.get_secret_value() == "redis://dedup_privacy__key"
    assert read.privacy.rotation_key is not None
    assert read.kafka.client_properties["sasl.password"] == "redis://dedup_kafka__properties__sasl_password"


def test_certificates_are_mounted_where_the_settings_say(tmp_path: Path) -> None:
    found = objects(CI["tls-sasl"])
    properties = load_settings(settings_file(found, tmp_path)).kafka.client_properties
    for pod in pods(found).values():
        (config,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "config"]
        secrets = [source["secret"] for source in config["projected"]["sources"] if "secret" in source]
        paths = {f"/etc/dedup/{item['path']}": each["name"] for each in secrets for item in each["items"]}
        assert paths[properties["ssl.ca.location"]] == "kafka-ca"
        assert paths[properties["ssl.certificate.location"]] == "kafka-client"
        assert paths[properties["ssl.key.location"]] == "kafka-client"
        assert paths["/etc/dedup/redis-tls/ca.crt"] == "redis-ca"
        assert config["projected"]["defaultMode"] == 0o440


# --- the network ------------------------------------------------------------------------------------------------------


def test_every_pod_has_a_policy_both_ways(values: Path) -> None:
    found = objects(values)
    policies = [each["spec"] for each in found if each["kind"] == "NetworkPolicy"]
    assert all(policy["policyTypes"] == ["Ingress", "Egress"] for policy in policies)
    assert set().union(*(selected(policy["podSelector"], found) for policy in policies)) == set(pods(found))


def test_only_kafka_redis_and_names_are_let_out() -> None:
    egress = one("NetworkPolicy", CI["tls-sasl"], name="consumer")["spec"]["egress"]
    outside = [(p["port"], p.get("protocol", "TCP")) for rule in egress if "to" not in rule for p in rule["ports"]]
    assert sorted(outside) == [(53, "TCP"), (53, "UDP"), (6380, "TCP"), (9093, "TCP")]
    (inside,) = [rule for rule in egress if "to" in rule]
    assert inside["ports"] == [{"port": "http"}]


def test_the_topics_job_has_its_policy_before_the_release() -> None:
    policy = one("NetworkPolicy", name="-topics")
    assert selected(policy["spec"]["podSelector"], objects()) == {"dedup-dedup-consumer-topics"}
    assert [p["port"] for rule in policy["spec"]["egress"] for p in rule["ports"]] == [53, 53, 9092]


def test_peers_can_be_named() -> None:
    policy = one("NetworkPolicy", CI["everything"])["spec"]
    assert {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}} in [
        peer.get("namespaceSelector") for peer in policy["ingress"][0]["from"]
    ]
    kafka, redis = (rule for rule in policy["egress"] if rule["ports"][0]["port"] in {9092, 6379})
    assert kafka["to"] == [{"podSelector": {"matchLabels": {"strimzi.io/cluster": "kafka"}}}]
    assert redis["to"] == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    assert [port["port"] for port in redis["ports"]] == [6379, 26379]
