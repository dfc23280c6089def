"""`python -m tests.chart.build_images OUT`: the images that the cluster tests run, each as a docker-archive OUT/<name>.tar.

The service's own from its Dockerfile, in one archive with the same under the tag of a next release; a Kafka; a Redis. What has not
changed since OUT was last written is left as it is. Needs buildah; `--base-image PROGRAM` names a program that makes a local
stand-in for a base image (PROGRAM NAME PACKAGE...), for machines that reach no registry of images.
"""

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.services import POM, ROOT, MissingServiceError, kafka_jars

VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
SERVICE, NEXT = f"dedup-consumer:{VERSION}", f"dedup-consumer:{VERSION}-next"
KAFKA, REDIS = "dedup-test-kafka:1", "dedup-test-redis:1"

_HERE = Path(__file__).parent / "images"
_DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
_STAND_IN = ("python3", "python3-venv", "python3-pip", "python3-dev")
"""What of the Python image the Dockerfiles use, as Debian packages."""
_SECRETS: Mapping[str, Path] = {
    "pip": Path(os.environ.get("PIP_CONFIG_FILE", "/etc/pip.conf")),
    "ca": Path(os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt")),
}
"""A build reaches the package index the way this machine does."""


@dataclass(frozen=True, slots=True)
class Image:
    """`inputs` are the files and folders that decide what is in it; `contexts` are the Dockerfile's further ones, by name."""

    tag: str
    dockerfile: Path
    folder: Path
    inputs: Sequence[Path]
    contexts: Mapping[str, Path] = field(default_factory=dict)

    @property
    def archive(self) -> str:
        return f"{self.tag.replace(':', '-')}.tar"

    def fingerprint(self) -> str:
        """Of the names and bytes of all inputs."""
        digest = hashlib.sha256()
        for file in sorted(_files(self.inputs)):
            digest.update(f"{file.relative_to(ROOT)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
        return digest.hexdigest()


def images() -> Sequence[Image]:
    """All but NEXT, which is added to the archive of SERVICE."""
    lock = _DOCKERFILE.with_name("requirements-cpu.lock")
    package = ("pyproject.toml", "README.md", "LICENSE", "consumer", "loadtest", "models", ".dockerignore")
    kafka, redis = _HERE / "kafka.Dockerfile", _HERE / "redis.Dockerfile"
    of_kafka = (kafka, _HERE / "kafka.sh", _HERE / "kafka.properties", POM)
    return (
        Image(SERVICE, _DOCKERFILE, ROOT, [_DOCKERFILE, lock, *(ROOT / name for name in package)]),
        Image(KAFKA, kafka, _HERE, of_kafka, {"jars": kafka_jars()}),
        Image(REDIS, redis, _HERE, [redis]),
    )


def build(folder: Path, base_image: Path | None = None) -> None:
    """Write to the folder what is not there or not fresh. Raises MissingServiceError without buildah."""
    if shutil.which("buildah") is None:
        raise MissingServiceError("no buildah to build images with: install it (Debian: buildah)")
    folder.mkdir(parents=True, exist_ok=True)
    stale = [image for image in images() if not _is_fresh(image, folder)]
    if stale and base_image is not None:
        base = re.search(r"^ARG BASE=(\S+)$", _DOCKERFILE.read_text(), re.MULTILINE)
        assert base is not None, f"{_DOCKERFILE} has no ARG BASE"
        _run(str(base_image), base[1], *_STAND_IN)
    with ThreadPoolExecutor(max_workers=2) as both_cores:
        made = both_cores.map(lambda image: _make(image, folder, pull=base_image is None), stale)
        list(made)  # waits, and raises what one of them raised


def _is_fresh(image: Image, folder: Path) -> bool:
    stamp = folder / f"{image.archive}.sha256"
    return stamp.exists() and stamp.read_text() == image.fingerprint()


def _make(image: Image, folder: Path, *, pull: bool) -> None:
    started = time.monotonic()
    archive, stamp = folder / image.archive, folder / f"{image.archive}.sha256"
    fingerprint = image.fingerprint()
    stamp.unlink(missing_ok=True)
    archive.unlink(missing_ok=True)  # it cannot be written to twice
    secrets = [f"--secret=id={name},src={path}" for name, path in _SECRETS.items() if path.exists()]
    contexts = [f"--build-context={name}={path}" for name, path in image.contexts.items()]
    # The Docker format has health checks, OCI's has not. Layers are kept, so that a change of code installs nothing anew.
    options = ["--format=docker", "--layers", f"--pull={'true' if pull else 'never'}", *secrets, *contexts]
    _run("buildah", "bud", *options, f"--file={image.dockerfile}", f"--tag={image.tag}", str(image.folder))
    _run("buildah", "push", image.tag, f"docker-archive:{archive}:{image.tag}")
    if image.tag == SERVICE:
        _add_next(archive)
    stamp.write_text(fingerprint)
    print(f"{image.tag}: {time.monotonic() - started:.0f} s")


def _add_next(archive: Path) -> None:
    """A next release with the same layers, for upgrades to roll out: another image, as its label says another version."""
    with tarfile.open(archive) as tar:
        (manifest,) = _json(tar, "manifest.json")
        config = _json(tar, manifest["Config"])
    config["config"]["Labels"]["org.opencontainers.image.version"] = NEXT.partition(":")[2]
    content = json.dumps(config).encode()
    name = f"{hashlib.sha256(content).hexdigest()}.json"
    following = {**manifest, "Config": name, "RepoTags": [f"docker.io/library/{NEXT}"]}
    with tarfile.open(archive, "a") as tar:
        # The later of two members of one name counts.
        for member, data in ((name, content), ("manifest.json", json.dumps([manifest, following]).encode())):
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def _json(tar: tarfile.TarFile, member: str) -> Any:
    content = tar.extractfile(member)
    assert content is not None, f"{member} is no file"
    return json.load(content)


def _run(*command: str) -> str:
    # Needs neither user namespaces nor an overlay file system, so it works in a container too.
    environment = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs", **os.environ}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        found = path.rglob("*") if path.is_dir() else (path,)
        yield from (file for file in found if file.is_file() and "__pycache__" not in file.parts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chart.build_images", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the archives")
    parser.add_argument("--base-image", type=Path, metavar="PROGRAM", help="makes a stand-in: PROGRAM NAME PACKAGE...")
    given = parser.parse_args()
    try:
        build(given.out, given.base_image)
    except (MissingServiceError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
