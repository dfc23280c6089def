"""What is done to the release while its stream goes on. A drill returns once the release is whole again."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.chart.cluster.kube import Namespace, wait_until
from tests.chart.cluster.release import ENCODER, ENCODERS, MATCHERS, NEXT_TAG, OURS, Release

Drill = Callable[[Release], None]
_CALM_SECONDS = 15.0
_BURST_RECORDS = 20_000
"""What keeps one encoder busy for longer than an autoscaler hesitates."""
_TAINT = "kwok.x-k8s.io/node=fake:NoSchedule"
"""Keeps pods off nodes that run nothing."""


def nothing(_: Release) -> None:
    time.sleep(_CALM_SECONDS)


def upgrade_setting(release: Release) -> None:
    release.install("config.limits.batch_records=128")


def upgrade_image(release: Release) -> None:
    release.install("config.limits.batch_records=128", f"image.tag={NEXT_TAG}")
    images = {pod["spec"]["containers"][0]["image"].partition(":")[2] for pod in release.pods(MATCHERS)}
    assert images == {NEXT_TAG}, images


def roll_back(release: Release) -> None:
    release.helm("rollback", "dedup", "--wait", "--timeout", "5m")


def scale_encoders(release: Release) -> None:
    for replicas in (3, 1):
        release.space.kubectl("scale", ENCODER, f"--replicas={replicas}")
        release.rolled_out()
        time.sleep(5.0)


def scale_by_processor(release: Release) -> None:
    release.install(*_autoscaling("mode=hpa", "targetCPUUtilizationPercentage=20"))
    _until_more(release)


def scale_by_lag(release: Release) -> None:
    """What is sent at a pace never waits long enough, so more comes at once; its events count as waits, too."""
    release.install(*_autoscaling("mode=keda", "lagThreshold=1", "pollingIntervalSeconds=5"))
    release.space.kubectl("exec", "driver", "--", "python", "/driver/driver.py", "burst", str(_BURST_RECORDS))
    _until_more(release)


def kill_owner(release: Release) -> None:
    _replaced(release, "delete", "pod", _owner(release), "--force", "--grace-period=0")


def kill_encoder(release: Release) -> None:
    name = release.pods(ENCODERS)[0]["metadata"]["name"]
    release.space.kubectl("delete", "pod", name, "--force", "--grace-period=0")
    release.rolled_out()


def evict_owner(release: Release) -> None:
    """The disruption budget lets one matcher go, and not the other until that one is back."""
    owner = _owner(release)
    other = next(n for n in _names(release) if n != owner)
    before = _ids(release)
    assert release.space.evict(owner), "the budget allows one"
    assert not release.space.evict(other), "and not two"
    _back(release, before)


def drain_node(release: Release) -> None:
    """Pods go to another node, which may be one that runs nothing (KWOK's): then they come back afterwards."""
    space = release.space
    node = release.pods(MATCHERS)[0]["spec"]["nodeName"]
    fakes = [n["metadata"]["name"] for n in space.get("nodes")["items"] if _is_fake(n)]
    for fake in fakes:
        space.kubectl("taint", "node", fake, f"{_TAINT}-")
    space.kubectl("drain", node, f"--pod-selector={OURS}", "--delete-emptydir-data", "--timeout=240s")
    space.kubectl("uncordon", node)
    for fake in fakes:
        space.kubectl("taint", "node", fake, _TAINT)
        for pod in space.get("pods", f"--field-selector=spec.nodeName={fake}")["items"]:
            space.kubectl("delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0")
    release.rolled_out()


def restart_redis(release: Release) -> None:
    _restarted(release, "redis")


def restart_kafka(release: Release) -> None:
    _restarted(release, "kafka")


DRILLS: Mapping[str, Drill] = {
    "nothing": nothing,
    "helm upgrade, a setting": upgrade_setting,
    "helm upgrade, an image": upgrade_image,
    "helm rollback": roll_back,
    "encoders 1 → 3 → 1": scale_encoders,
    "encoders scaled by an HPA": scale_by_processor,
    "the only encoder deleted by force": kill_encoder,
    "the matcher at work deleted by force": kill_owner,
    "the matcher at work evicted": evict_owner,
    "the node drained": drain_node,
    "Redis' pod deleted": restart_redis,
    "Kafka's pod deleted": restart_kafka,
    "encoders scaled by KEDA": scale_by_lag,
}
NEEDED: Mapping[str, str] = {
    "encoders scaled by an HPA": "v1beta1.metrics.k8s.io",
    "encoders scaled by KEDA": "v1beta1.external.metrics.k8s.io",
}
"""Drill → the API that a cluster must serve for it."""
SHORT = ("nothing", "helm upgrade, a setting", "the matcher at work deleted by force")
"""For every run of the tests."""


def _autoscaling(*settings: str) -> list[str]:
    return [f"encoder.autoscaling.{setting}" for setting in ("maxReplicas=3", *settings)]


def _until_more(release: Release) -> None:
    """More than one encoder; then back to one by hand."""
    wait_until(lambda: len(release.pods(ENCODERS)) > 1, "a second encoder")
    release.rolled_out()
    release.install("encoder.replicas=1")


def _names(release: Release) -> list[str]:
    return [pod["metadata"]["name"] for pod in release.pods(MATCHERS)]


def _ids(release: Release) -> set[str]:
    return {pod["metadata"]["uid"] for pod in release.pods(MATCHERS)}


def _owner(release: Release) -> str:
    """The matcher that has the partition of the only scope: who decided last."""
    found = {name: _decided(release.space, name) for name in _names(release)}
    return max(found, key=lambda name: found[name])


def _decided(space: Namespace, pod: str) -> str:
    """When it logged a batch last, in ISO 8601; empty where it never did."""
    entries = map(_parsed, space.kubectl("logs", pod, "--tail=200").splitlines())
    return max((e["timestamp"] for e in entries if e.get("event") == "batch" and e.get("stage") == "match"), default="")


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _replaced(release: Release, *how: str) -> None:
    before = _ids(release)
    release.space.kubectl(*how)
    _back(release, before)


def _back(release: Release, before: set[str]) -> None:
    """Once other matchers than these are there, as many, and ready."""
    wait_until(lambda: len(_ids(release) - before) > 0, "another matcher's pod")
    release.rolled_out()


def _restarted(release: Release, server: str) -> None:
    release.space.kubectl("delete", "pod", f"{server}-0")
    release.space.rolled_out(f"statefulset/{server}")
    release.rolled_out()


def _is_fake(node: Any) -> bool:
    return "kwok.x-k8s.io/node" in node["metadata"].get("annotations", {})
