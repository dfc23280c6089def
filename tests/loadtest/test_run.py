"""The load test against the real service on a real Kafka and Redis, as an operator runs it."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from consumer.profile import load_profile
from loadtest.author import KINDS
from loadtest.fleet import Worker
from loadtest.generator import Assignment, Sent, generate
from loadtest.workload import load_workload
from tests.deployment import SIGNUP, Deployment, clean_environment
from tests.services import ROOT

WORKLOAD = """
name: small
about: All kinds at once, for a few seconds.
mix: {new: 0.55, duplicate: 0.3, update: 0.05, erase: 0.03, hub: 0.02, poison: 0.05}
phases: [{rate: 60, seconds: 8}]
fill: 100
warm_up_seconds: 2
seed: 5
"""


@pytest.fixture
def deployment(kafka_servers: str, redis_url: str, unique: str, tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(unique, kafka_servers, redis_url, tmp_path, SIGNUP)
    yield made
    made.close()


def loadtest(deployment: Deployment, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loadtest", *arguments],
        env={**clean_environment(), **deployment.environment, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_a_run_measures_judges_and_reports(deployment: Deployment, tmp_path: Path) -> None:
    service = deployment.start().wait_ready()
    workload, out = tmp_path / "small.yaml", tmp_path / "report"
    workload.write_text(WORKLOAD)
    metrics = f"http://127.0.0.1:{service.port}/metrics"
    done = loadtest(deployment, "run", str(workload), "--out", str(out), "--metrics", metrics, "--at-rest")
    assert done.stdout, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    # shared cores may make the generator late, and then the run says so; nothing else may be wrong
    assert [fault for fault in summary["faults"] if "generator itself was late" not in fault] == [], done.stderr
    assert done.returncode == (0 if summary["valid"] else 1)
    assert summary["f1"] > 0.5
    assert summary["f1"] == pytest.approx(summary["f1_at_rest"], abs=0.05)  # partitions may be read in another order
    assert 0 < summary["event_p50_ms"] <= summary["event_p99_ms"]
    report = json.loads((out / "report.json").read_bytes())
    assert report["version_gaps"] == report["repeats"] == 0
    assert report["dead_letters"] == report["sent"]["poison"] > 0
    assert sum(report["sent"].values()) == 60 * 8 + 100
    assert (
        report["quality"]["records"]
        == sum(report["sent"][kind] for kind in ("new", "duplicate", "hub")) - (report["sent"]["erase"])
    )
    assert report["steps"][0]["vectors"]["count"] > report["steps"][0]["events"]["count"] > 0
    assert {("encode", "process"), ("match", "apply")} <= {(c["stage"], c["step"]) for c in report["costs"]}
    assert report["memory"]["resident_mib"][-1] > 0
    secrets = json.dumps(report["settings"])
    assert "change-me" not in secrets
    assert deployment.redis_url not in secrets
    assert "data:image/png" in (out / "report.html").read_text()
    assert {"latency.png", "throughput.png", "lag.png", "stages.png", "memory.png"} <= {f.name for f in out.iterdir()}
    beside = loadtest(deployment, "compare", str(out), str(out))
    assert beside.returncode == 0, beside.stderr
    assert "F1" in beside.stdout


def test_a_sweep_ends_at_its_operating_point(deployment: Deployment, tmp_path: Path) -> None:
    deployment.start().wait_ready()
    workload, out = tmp_path / "sweep.yaml", tmp_path / "report"
    # what waits may be .6 s of messages until the rate is called too much
    sweep = "sweep: {start: 20, factor: 2, steps: 1, seconds: 14, operating: {share: 0.5, seconds: 10}}"
    workload.write_text(
        "\n".join(sweep if line.startswith("phases") else line for line in WORKLOAD.splitlines() if "fill" not in line)
    )
    done = loadtest(deployment, "run", str(workload), "--out", str(out))
    report = json.loads((out / "report.json").read_bytes())
    assert [step["saturated"] for step in report["steps"]] == [""]
    assert report["operating"]["intended_rate"] == pytest.approx(10, abs=0.1)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["operating_event_p99_ms"] == report["operating"]["events"]["p99_ms"] > 0
    assert "operating point, 0.5 of the highest" in (out / "report.html").read_text()
    beside = loadtest(deployment, "compare", str(out), str(out))
    assert "operating point" in beside.stdout, beside.stderr


def test_without_a_service_it_says_what_to_start(deployment: Deployment) -> None:
    deployment.run("topics", "create").check_returncode()
    done = loadtest(deployment, "run", "smoke")
    assert done.returncode == 1
    assert "has no member" in done.stderr
    assert "dedup run" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_without_metrics_is_told(deployment: Deployment) -> None:
    deployment.run("topics", "create").check_returncode()
    done = loadtest(deployment, "run", "smoke", "--metrics", "http://127.0.0.1:1/metrics")
    assert done.returncode == 1
    assert "no metrics there" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_generator_knows_how_late_it_is(deployment: Deployment) -> None:
    deployment.run("topics", "create").check_returncode()
    profile = load_profile(deployment.environment["DEDUP_PROFILE"])
    properties = {"bootstrap.servers": deployment.servers}
    generator = Worker(generate, Assignment("run", 0, 1, load_workload("mixed"), profile, properties))
    try:
        generator.tell(50)
        assert generator.answer() is True
        generator.tell((time.time_ns() - 10**9, np.arange(50) / 1000))
        sent: Sent = generator.answer()
    finally:
        generator.close()
    assert (sent.late_seconds > 0.9).all()
    assert sent.failed == 0
    messages = deployment.read(deployment.input)
    assert len(messages) == len(sent.kinds) == 50
    erased = int((sent.kinds == KINDS.index("erase")).sum())
    assert sum(message.value() is None for message in messages) == erased


def test_the_ceiling_beside_the_stream(deployment: Deployment, tmp_path: Path) -> None:
    done = loadtest(
        deployment,
        *("ceiling", "--records", "300,600", "--sample", "256", "--rounds", "2", "--out", str(tmp_path)),
        DEDUP_INDEX__EXACT_BELOW="200",
        DEDUP_INDEX__DIMS="16",
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "ceiling.json").read_bytes())
    assert [size["records"] for size in found["sizes"]] == [300, 600]
    for size in found["sizes"]:
        for stage in ("encode", "match"):
            parts = size[f"{stage}_parts"].values()
            assert all(part["wall"] > 0 for part in parts)
            ceiling = sum(part["wall"] for part in parts)
            assert size[f"{stage}_ceiling"]["wall"] == pytest.approx(ceiling)
            efficiency = ceiling / size[f"{stage}_stream"]["wall"]
            assert size["efficiency"][stage]["wall"] == pytest.approx(efficiency, abs=0.001)
        assert {"Redis: reads", "hnswlib: search", "hnswlib: add"} <= size["match_parts"].keys()
    assert found["match_cost_growth"]["from"] == 300


def test_the_ceiling_refuses_too_small_an_index(deployment: Deployment) -> None:
    done = loadtest(deployment, "ceiling", "--records", "100")
    assert done.returncode == 1
    assert "hnswlib is not used" in done.stderr
