"""Encoder and matcher as the chart runs them: their settings, how they start, end and stay up."""

import json
from pathlib import Path

import pytest
import yaml

from consumer.names import encoders_group
from consumer.profile import load_profile
from consumer.settings import load_settings
from tests.chart.render import CHART, CI, MINIMAL, containers, objects, one, pods, roles, selected, settings_file

pytestmark = pytest.mark.usefixtures("helm")
MANY = CI["everything"]
VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"]


def person() -> str:
    """The profile of the multi-scope case."""
    return str(yaml.safe_load(CI["multi-scope"].read_text(encoding="utf-8"))["profiles"]["person.yaml"])


# --- settings ---------------------------------------------------------------------------------------------------------


def test_the_settings_file_is_one_that_the_service_reads(values: Path, tmp_path: Path) -> None:
    settings = load_settings(settings_file(objects(values), tmp_path))
    asked = yaml.safe_load(values.read_text(encoding="utf-8"))["config"]
    for group, wanted in asked.items():
        read = getattr(settings, group)
        for name, value in wanted.items() if isinstance(wanted, dict) else ():
            if not isinstance(value, dict):
                assert getattr(read, name) == value
    assert settings.topics.create is False
    assert str(settings.state.directory) == "/var/lib/dedup"


def test_the_profile_is_there_and_its_topic_is_known(tmp_path: Path) -> None:
    settings = load_settings(settings_file(objects(CI["multi-scope"]), tmp_path))
    assert settings.profile == "/etc/dedup/profiles/person.yaml"
    profile = load_profile(str(tmp_path / "profiles" / "person.yaml"))
    assert profile.scope == "tenant"


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    assert load_settings(settings_file(objects(MANY), tmp_path)).images.max_bytes == 10_485_760


def test_another_setting_or_profile_restarts_the_pods_and_another_scale_does_not() -> None:
    def checksums(*sets: str) -> set[str]:
        found = objects(CI["multi-scope"], *sets)
        named = roles(found)
        return {
            pods(found)[named[role]]["metadata"]["annotations"]["checksum/config"] for role in ("encoder", "matcher")
        }

    plain = checksums()
    assert len(plain) == 1
    assert checksums("matcher.replicas=3") == plain
    assert checksums("config.index.ef=128") != plain
    changed = json.dumps({"person.yaml": person().replace("duplicate: 0.8", "duplicate: 0.85")})
    assert checksums(f"profiles={changed}") != plain


# --- the two roles ----------------------------------------------------------------------------------------------------


def test_a_matcher_has_a_name_and_a_volume_that_outlive_its_pod() -> None:
    matcher = one("StatefulSet")
    spec, (container,) = matcher["spec"], matcher["spec"]["template"]["spec"]["containers"]
    instance = {each["name"]: each["valueFrom"] for each in container["env"]}["DEDUP_KAFKA__INSTANCE"]
    assert instance == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]] == ["state"]
    assert {"name": "state", "mountPath": str(Path("/var/lib/dedup"))} in container["volumeMounts"]
    assert spec["serviceName"] == one("Service", name="-matcher")["metadata"]["name"]
    assert spec["minReadySeconds"] >= 10  # ready is said before Kafka has given partitions


def test_an_encoder_has_no_static_name_and_no_redis() -> None:
    (container,) = one("Deployment")["spec"]["template"]["spec"]["containers"]
    assert {each["name"] for each in container["env"]} == {"DEDUP_PRIVACY__KEY"}


def test_standby_is_the_setting(tmp_path: Path) -> None:
    found = objects(CI["standby"])
    assert load_settings(settings_file(found, tmp_path)).state.standby is True
    matcher = one("StatefulSet", CI["standby"])["spec"]
    assert "volumeClaimTemplates" not in matcher
    assert matcher["replicas"] == 3  # one more than partitions


def test_the_roles_run_what_the_command_line_knows(values: Path) -> None:
    commands = {c["name"]: c.get("args") or c["command"] for c in containers(objects(values))}
    assert commands["encoder"] == ["run", "--role", "encode", "--config", "/etc/dedup/settings.yaml"]
    assert commands["matcher"] == ["run", "--role", "match", "--config", "/etc/dedup/settings.yaml"]


def test_gpus() -> None:
    pod = one("Deployment", CI["gpu"])["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == f"dedup-consumer:{VERSION}-cuda"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]
    assert pod["runtimeClassName"] == "nvidia"
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}} in pod["volumes"]
    providers = [entry["value"] for entry in container["env"] if entry["name"] == "DEDUP_MODELS__PROVIDERS"]
    assert [json.loads(value)[0] for value in providers] == ["TensorrtExecutionProvider"], "a fall-back is an alert"
    assert (
        one("StatefulSet", CI["gpu"])["spec"]["template"]["spec"]["containers"][0]["image"]
        == f"dedup-consumer:{VERSION}"
    )


def test_images() -> None:
    found = {container["name"]: container["image"] for container in containers(objects(MANY))}
    assert found["encoder"] == "registry.example.com/dedup-consumer:0.1.0-tuned"  # the common digest is not its own
    assert found["matcher"] == f"registry.example.com/dedup-consumer@sha256:{'0123456789abcdef' * 4}"
    digest = f"sha256:{'f' * 64}"
    own = objects(MANY, f'encoder.image.digest="{digest}"')
    assert {c["image"] for c in containers(own) if c["name"] == "encoder"} == {
        f"registry.example.com/dedup-consumer@{digest}"
    }


def test_what_a_user_adds_is_there() -> None:
    found = objects(MANY)
    pod = pods(found)["duplicates-encoder"]
    (container,) = pod["spec"]["containers"]
    assert pod["metadata"]["labels"]["cost-centre"] == "42"
    assert pod["metadata"]["annotations"]["example.com/note"] == "encoders"
    assert pod["spec"]["priorityClassName"] == "high"
    assert {"name": "DEDUP_MODELS__DIRECTORY", "value": "/models"} in container["env"]
    assert container["envFrom"] == [{"secretRef": {"name": "proxy"}}]
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in container["volumeMounts"]
    assert all(each["metadata"]["labels"]["team"] == "crm" for each in found)
    assert all(p["spec"]["imagePullSecrets"] == [{"name": "registry"}] for p in pods(found).values())
    assert pods(found)["duplicates-matcher"]["spec"]["serviceAccountName"] == "crm"


# --- starting and ending ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "seconds"), [("Deployment", 300), ("StatefulSet", 600)])
def test_a_pod_has_its_time_to_start(kind: str, seconds: int) -> None:
    (container,) = one(kind)["spec"]["template"]["spec"]["containers"]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == seconds
    assert startup["httpGet"]["path"] == container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_a_time_to_start_is_rounded_up() -> None:
    (container,) = one("StatefulSet", MINIMAL, "matcher.startupSeconds=601")["spec"]["template"]["spec"]["containers"]
    assert container["startupProbe"]["failureThreshold"] == 121


def test_a_pod_has_its_time_to_drain(values: Path, tmp_path: Path) -> None:
    found = objects(values)
    settings = load_settings(settings_file(found, tmp_path))
    for role, loops in (("encoder", 1), ("matcher", 2 if settings.state.standby else 1)):
        spec = pods(found)[roles(found)[role]]["spec"]
        paused = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert spec["terminationGracePeriodSeconds"] >= paused + loops * settings.limits.drain_seconds + 5


def test_without_a_pause_there_is_no_hook() -> None:
    assert all("lifecycle" not in c for c in containers(objects(MINIMAL, "preStopSleepSeconds=0")))


# --- staying up -------------------------------------------------------------------------------------------------------


def test_budgets_are_of_the_pods_of_one_role_and_let_a_node_drain(values: Path) -> None:
    found = objects(values)
    for budget in (each for each in found if each["kind"] == "PodDisruptionBudget"):
        role = budget["metadata"]["labels"]["app.kubernetes.io/component"]
        assert selected(budget["spec"]["selector"], found) == {roles(found)[role]}
        assert budget["spec"]["maxUnavailable"] not in {0, "0%"}
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_pods_are_spread_over_zones_and_nodes() -> None:
    found = objects()
    for role in ("encoder", "matcher"):
        spread = pods(found)[roles(found)[role]]["spec"]["topologySpreadConstraints"]
        assert [each["topologyKey"] for each in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        assert all(selected(each["labelSelector"], found) == {roles(found)[role]} for each in spread)


def test_autoscaling_by_cpu_leaves_replicas_alone_and_stays_within_the_partitions(tmp_path: Path) -> None:
    scaler, encoder = one("HorizontalPodAutoscaler", MANY), one("Deployment", MANY)
    assert scaler["spec"]["scaleTargetRef"]["name"] == encoder["metadata"]["name"]
    assert "replicas" not in encoder["spec"]
    partitions = load_settings(settings_file(objects(MANY), tmp_path)).topics.partitions
    assert scaler["spec"]["maxReplicas"] <= partitions
    behaviour = scaler["spec"]["behavior"]
    assert behaviour["scaleDown"]["stabilizationWindowSeconds"] > behaviour["scaleUp"]["stabilizationWindowSeconds"]


VECTORS = "vectors: people.v2\n"
"""Encoders of another vectors topic are another group."""


@pytest.mark.parametrize(
    ("case", "added"), [("minimal", ""), ("keda", ""), ("multi-scope", ""), ("multi-scope", VECTORS)]
)
def test_autoscaling_by_lag_asks_after_the_group_and_topic_of_the_encoders(
    case: str, added: str, tmp_path: Path
) -> None:
    """The templates know of a profile what the service does."""
    whole = 'config.kafka.bootstrap_servers="kafka.kafka.svc:9092"'  # KEDA asks from another namespace
    sets = ['encoder.autoscaling.mode="keda"', "encoder.autoscaling.minReplicas=2", whole]
    if added:
        sets.append(f"profiles={json.dumps({'person.yaml': person() + added})}")
    settings = load_settings(settings_file(objects(CI[case], *sets), tmp_path))
    profile = load_profile(settings.profile.replace("/etc/dedup", str(tmp_path)))
    scaler, encoder = one("ScaledObject", CI[case], *sets)["spec"], one("Deployment", CI[case], *sets)
    assert scaler["scaleTargetRef"] == {"name": encoder["metadata"]["name"]}
    assert "replicas" not in encoder["spec"]
    assert scaler["maxReplicaCount"] <= settings.topics.partitions
    (trigger,) = scaler["triggers"]
    assert trigger["metadata"]["topic"] == profile.input
    assert trigger["metadata"]["consumerGroup"] == encoders_group(settings, profile)
    assert trigger["metadata"]["bootstrapServers"] == settings.kafka.bootstrap_servers
    assert trigger["metadata"]["excludePersistentLag"] == trigger["metadata"]["limitToPartitionsWithLag"] == "true"
    assert trigger["metadata"]["offsetResetPolicy"] == "earliest"


def test_keda_reads_the_encoders_own_environment_and_certificates() -> None:
    (container,) = one("Deployment", CI["keda"])["spec"]["template"]["spec"]["containers"]
    authentication = one("TriggerAuthentication", CI["keda"])["spec"]
    trigger = one("ScaledObject", CI["keda"])["spec"]["triggers"][0]["metadata"]
    assert (trigger["sasl"], trigger["tls"]) == ("scram_sha512", "enable")
    assert {each["parameter"] for each in authentication["env"]} == {"username", "password"}
    assert {each["name"] for each in authentication["env"]} <= {each["name"] for each in container["env"]}
    assert {each["containerName"] for each in authentication["env"]} == {container["name"]}
    assert authentication["secretTargetRef"] == [{"parameter": "ca", "name": "kafka-ca", "key": "ca.crt"}]
