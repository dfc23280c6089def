"""What several tests of this folder are given: records in a file, and deployments, made or only named."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from consumer.simulate import signups
from tests.deployment import PERSON, Deployment
from tests.services import ROOT
from tests.stories import Deploy


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 signups, and between them three lines that are none and one that erases nothing."""
    file = tmp_path_factory.mktemp("records") / "records.jsonl"
    lines = [orjson.dumps({"id": s.id, **s.value}) for s in signups(300, seed=4)]
    lines[10:10] = [b"no JSON", b"", b'{"name": "nobody"}']
    lines[200:200] = [b'{"id": "odd", "name": ["a", "list"]}']
    file.write_bytes(b"\n".join(lines) + b"\n")
    return file


@pytest.fixture
def named(kafka_servers: str, redis_url: str, unique: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a deployment whose names nobody else uses."""
    name = unique[-40:].strip("-")
    profile = tmp_path / "profile.yaml"
    text = (ROOT / "consumer" / "profiles" / "signup.yaml").read_text()
    profile.write_text(text.replace("name: signup", f"name: {name}").replace("input: signups", f"input: {name}.in"))
    return {
        "DEDUP_PROFILE": str(profile),
        "DEDUP_KAFKA__BOOTSTRAP_SERVERS": kafka_servers,
        "DEDUP_KAFKA__GROUP": name,
        "DEDUP_REDIS__URL": redis_url,
        "DEDUP_REDIS__PREFIX": name,
        "DEDUP_TOPICS__PARTITIONS": "2",
        "DEDUP_TOPICS__FEEDBACK": f"{name}.feedback",
        "DEDUP_TOPICS__EVENTS": f"{name}.events",
        "DEDUP_TOPICS__CLUSTERS": f"{name}.clusters",
        "DEDUP_TOPICS__POSSIBLE": f"{name}.possible",
        "DEDUP_STATE__DIRECTORY": str(tmp_path / "state"),
        "DEDUP_HTTP__PORT": "0",
    }


@pytest.fixture
def deploy(kafka_servers: str, redis_url: str, unique: str, tmp_path: Path) -> Iterator[Deploy]:
    """A maker of deployments: `deploy(profile file, suffix of its name, changes of the profile)`."""
    with ExitStack() as stack:

        def make(profile: Path = PERSON, suffix: str = "", **changes: Any) -> Deployment:
            made = Deployment(
                f"{unique[-40:].strip('-')}{suffix}", kafka_servers, redis_url, tmp_path, profile, **changes
            )
            stack.callback(made.close)
            return made

        yield make
