"""What stands beside the two roles: hooks, services, monitoring; and the names of all."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.chart.render import CHART, CI, MINIMAL, objects, one, selected

pytestmark = pytest.mark.usefixtures("helm")
MANY = CI["everything"]
LONG = "a-release-whose-name-is-as-long-as-helm-lets-it-be-xx"
"""53 characters."""

# --- hooks, tests, jobs -----------------------------------------------------------------------------------------------


def test_the_topics_job_comes_before_the_release_and_after_what_it_needs() -> None:
    hooks = {
        each["kind"]: each["metadata"]["annotations"]
        for each in objects()
        if each["metadata"].get("annotations", {}).get("helm.sh/hook") == "pre-install,pre-upgrade"
    }
    assert hooks.keys() == {"Job", "ConfigMap", "NetworkPolicy"}
    weights = {kind: int(annotations["helm.sh/hook-weight"]) for kind, annotations in hooks.items()}
    assert weights["Job"] > max(weights["ConfigMap"], weights["NetworkPolicy"])
    job = one("Job")["spec"]["template"]["spec"]
    assert job["containers"][0]["args"][:2] == ["topics", "create"]
    assert "serviceAccountName" not in job  # that one comes with the release
    (config,) = [volume for volume in job["volumes"] if volume["name"] == "config"]
    assert (
        config["projected"]["sources"][0]["configMap"]["name"] == one("ConfigMap", name="-topics")["metadata"]["name"]
    )
    assert one("ConfigMap", name="-topics")["data"] == one("ConfigMap", name="consumer")["data"]


def test_helm_test_asks_the_doctor_and_every_pod(values: Path) -> None:
    found = objects(values)
    commands = {
        each["spec"]["containers"][0]["name"]: each["spec"]["containers"][0]["command"]
        for each in found
        if each["metadata"].get("annotations", {}).get("helm.sh/hook") == "test"
    }
    assert commands["doctor"] == ["dedup", "doctor", "--config", "/etc/dedup/settings.yaml"]
    services = {each["metadata"]["name"] for each in found if each["kind"] == "Service"}
    assert set(commands["ready"][-2:]) == services


def test_services_find_the_pods_of_their_role(values: Path) -> None:
    found = objects(values)
    for service in (each for each in found if each["kind"] == "Service"):
        assert selected({"matchLabels": service["spec"]["selector"]}, found) == {service["metadata"]["name"]}


def test_another_load_test_is_another_job() -> None:
    def name(*sets: str) -> str:
        return str(one("Job", MANY, *sets)["metadata"]["name"])

    assert name() == name("matcher.replicas=2")
    assert name() != name('loadtest.workload="smoke"')
    assert one("Job", MANY)["spec"]["template"]["spec"]["containers"][0]["command"][:5] == [
        *("python", "-m", "loadtest", "run", "steady")
    ]


# --- monitoring -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "endpoints"), [("PodMonitor", "podMetricsEndpoints"), ("ServiceMonitor", "endpoints")]
)
def test_either_monitor_scrapes_the_pods_of_both_roles(kind: str, endpoints: str) -> None:
    chosen = f'monitoring.kind="{kind}"'
    found, monitor = objects(MANY, chosen), one(kind, MANY, chosen)
    (endpoint,) = monitor["spec"][endpoints]
    assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert selected(monitor["spec"]["selector"], found) == {"duplicates-encoder", "duplicates-matcher"}
    services = [each for each in found if each["kind"] == "Service"]
    asked = monitor["spec"]["selector"]["matchLabels"].items()
    assert all(asked <= service["metadata"]["labels"].items() for service in services)
    assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/instance"


def test_alerts_and_dashboards_are_the_files() -> None:
    alerts = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text(encoding="utf-8"))
    assert one("PrometheusRule", MANY)["spec"] == alerts
    files = {path.name: json.loads(path.read_text("utf-8")) for path in (CHART / "files" / "dashboards").glob("*.json")}
    assert files
    found = [
        each for each in objects(MANY, kind="ConfigMap") if each["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]
    assert {name: json.loads(text) for each in found for name, text in each["data"].items()} == files
    assert all(each["metadata"]["annotations"] == {"grafana_folder": "Duplicates"} for each in found)


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", ["d", "dedup-consumer", LONG])
def test_names_are_unique_and_fit(values: Path, release: str) -> None:
    found = objects(values, 'fullnameOverride=""', release=release)
    names = [(each["kind"], each["metadata"]["name"]) for each in found]
    assert len(set(names)) == len(names)
    for kind, name in names:
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)
        # a label of a StatefulSet's pods is its name and 11 characters more
        assert len(name) <= (52 if kind == "StatefulSet" else 63)
    labels = [label for each in found for label in each["metadata"]["labels"].values()]
    assert all(len(label) <= 63 for label in labels)


def test_long_names_that_differ_stay_different() -> None:
    names = {
        each["metadata"]["name"]
        for last in "yz"
        for each in objects(MINIMAL, release=f"{LONG[:-1]}{last}", kind="StatefulSet")
    }
    assert len(names) == 2


def test_selectors_hold_nothing_that_an_upgrade_changes(values: Path) -> None:
    for each in objects(values):
        if each["kind"] in {"Deployment", "StatefulSet"}:
            assert {name.rpartition("/")[2] for name in each["spec"]["selector"]["matchLabels"]} == {
                *("name", "instance", "component")
            }


def test_every_label_of_a_selector_is_on_the_pods(values: Path) -> None:
    for each in objects(values):
        if each["kind"] in {"Deployment", "StatefulSet"}:
            labels = each["spec"]["template"]["metadata"]["labels"].items()
            assert each["spec"]["selector"]["matchLabels"].items() <= labels
