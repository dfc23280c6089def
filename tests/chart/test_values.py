"""Wrong values are refused, by a message that names the key and, where a schema cannot say it, what to do."""

from pathlib import Path

import pytest

from consumer.settings import load_settings
from tests.chart.render import CI, MINIMAL, RefusedError, notes, rendered

pytestmark = pytest.mark.usefixtures("helm")
PERSON, KEDA, SASL, STANDBY = (CI[name] for name in ("multi-scope", "keda", "tls-sasl", "standby"))


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("encoder.replica=3", "'/encoder': additional properties 'replica'"),
        ("encoder.replicas=-1", "/encoder/replicas"),
        ('encoder.replicas="three"', "/encoder/replicas"),
        ('encoder.autoscaling.mode="lag"', "/encoder/autoscaling/mode"),
        ("encoder.gpu.count=0", "/encoder/gpu/count"),
        ('encoder.image.tag="has a blank"', "/encoder/image/tag"),
        ('matcher.persistence.size="10 GB"', "/matcher/persistence/size"),
        ('matcher.persistence.retentionPolicy.whenDeleted="Keep"', "/matcher/persistence/retentionPolicy/whenDeleted"),
        ('matcher.resources.limits.memory="much"', "/matcher/resources/limits/memory"),
        ("matcher.autoscaling={}", "'autoscaling' not allowed"),
        ('image.digest="sha256:abc"', "/image/digest"),
        ('monitoring.kind="podmonitor"', "/monitoring/kind"),
        ("networkPolicy.redis.ports=[70000]", "/networkPolicy/redis/ports/0"),
        ('redis.url="redis://:secret@redis"', "'/redis': additional properties 'url'"),
        ('profiles={"Person.yml": "name: person"}', "'Person.yml' not allowed"),
        ('config.kafka.bootstrap_server="kafka:9092"', "'/config/kafka': additional properties 'bootstrap_server'"),
        ('config.matching.quorum="half"', "/config/matching/quorum"),
        ("config.matching.quorum=2", "/config/matching/quorum"),
        ("config.index.m=0", "/config/index/m"),
        ('config.log.level="trace"', "/config/log/level"),
        ("config.topics=null", "missing property 'topics'"),
        # secret, or the chart's own
        ('config.redis.url="redis://redis"', "'/config/redis': additional properties 'url'"),
        ('config.privacy.key="secret"', "'/config': additional properties 'privacy'"),
        ('config.kafka.properties={"sasl.password": "secret"}', "/config/kafka/properties/sasl.password"),
        ('config.kafka.properties={"sasl_password": "secret"}', "/config/kafka/properties/sasl_password"),
        ('config.kafka.instance="dedup-0"', "'/config/kafka': additional properties 'instance'"),
        ('config.state.directory="/data"', "'/config/state': additional properties 'directory'"),
        ("config.topics.create=true", "'/config/topics': additional properties 'create'"),
        ("config.http.port=80", "'/config': additional properties 'http'"),
    ],
)
def test_the_schema_refuses_with_the_name_of_the_key(value: str, named: str) -> None:
    with pytest.raises(RefusedError) as refused:
        rendered(MINIMAL, value)
    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("values", "value", "told"),
    [
        (MINIMAL, 'redis.existingSecret=""', "create secret generic dedup-redis --from-literal=url="),
        (MINIMAL, 'privacy.existingSecret=""', "create secret generic dedup-privacy --from-literal=key="),
        (MINIMAL, 'config.kafka.bootstrap_servers=""', "config.kafka.bootstrap_servers is missing: name the brokers"),
        (MINIMAL, 'kafka.existingSecret="dedup-kafka"', "set kafka.secretKeys"),
        (SASL, 'kafka.existingSecret=""', "set kafka.existingSecret or tests.kafkaSecret"),
        (SASL, 'config.kafka.properties={"security.protocol": "SASL_PLAINTEXT"}', "set it to SSL or SASL_SSL"),
        (MINIMAL, "encoder.replicas=13", "encoder.replicas is 13 and config.topics.partitions 12"),
        (MINIMAL, "matcher.replicas=13", "With config.state.standby they stand by"),
        (KEDA, "encoder.autoscaling.maxReplicas=13", "maxReplicas is 13 and config.topics.partitions 12"),
        (KEDA, "encoder.autoscaling.minReplicas=13", "minReplicas is above maxReplicas"),
        (KEDA, 'kafka.secretKeys={"sasl.password": "password"}', "or set encoder.kafkaUser"),
        (MINIMAL, 'config.profile="people"', "config.profile is people: say signup, listing, or /etc/dedup/profiles/<"),
        (PERSON, 'config.profile="person.yaml"', "config.profile is person.yaml: say"),
        (KEDA, 'config.kafka.bootstrap_servers="a.b:1, kafka:9092"', "where that name means nothing"),
    ],
)
def test_what_does_not_go_together_is_refused_with_advice(values: Path, value: str, told: str) -> None:
    with pytest.raises(RefusedError) as refused:
        rendered(values, value)
    assert told in " ".join(str(refused.value).split())


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(RefusedError) as refused:
        rendered(MINIMAL, 'redis.existingSecret=""', 'privacy.existingSecret=""', "matcher.replicas=13")
    told = str(refused.value)
    assert "redis.existingSecret" in told
    assert "privacy.existingSecret" in told
    assert "matcher.replicas" in told


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["matcher.replicas=1"], "One matcher: while it restarts, nothing is decided"),
        (["matcher.replicas=1"], "config.state.standby needs a second matcher"),
        (["networkPolicy.extraEgress=[]"], "add them to networkPolicy.extraEgress"),
        (["config.state.snapshots=null"], "No volume and no config.state.snapshots"),
        (["topicsJob.enabled=false"], "They need 2 partitions"),
        ([], "Nobody scrapes the metrics"),
    ],
)
def test_the_notes_warn_of_what_is_allowed_and_unwise(sets: list[str], told: str) -> None:
    assert told in notes(STANDBY, *sets)


def test_the_notes_of_a_sound_release_warn_of_nothing() -> None:
    told = notes(MINIMAL, 'monitoring.kind="PodMonitor"')
    assert "Before you rely on it" not in told
    assert "helm -n duplicates test dedup" in told
    assert "--topic signups" in told
    assert f"--topic {load_settings().topics.events}" in told
