"""Snapshots in an S3, which is there, goes away, and comes back."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.adapters.object_snapshots import ObjectSnapshots
from consumer.adapters.snapshot_files import Origin, SnapshotFiles
from consumer.errors import SettingsError, SnapshotError
from consumer.ports import VectorIndex
from consumer.settings import load_settings
from tests.factories import unit_rows

DIM, MODELS = 8, "f00d"
APPLIED = {"de": 41}
FILES = SnapshotFiles(
    Origin("person", "vectors", "id"), lambda path: GrowingIndex.load(path, DIM, 100, HnswOptions()), 1000.0
)


class S3:
    """An S3 at one address, that can be taken away."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.host, self.port = self._server.get_host_and_port()
        self.bucket = f"snapshots-{secrets.token_hex(4)}"  # what moto holds outlives its server

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server = ThreadedMotoServer(ip_address=self.host, port=self.port, verbose=False)
        self._server.start()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    server = S3()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": f"http://{server.host}:{server.port}",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket=server.bucket)
    client.close()
    yield server
    server.stop()


def store(
    s3: S3, folder: Path, sleep: Callable[[float], None] = lambda _: None, patience_seconds: float = 0
) -> ObjectSnapshots:
    url = f"s3://{s3.bucket}/dedup/person"
    return ObjectSnapshots(url, folder / "spool", FILES, patience_seconds, sleep)


def index(n: int) -> VectorIndex:
    made = GrowingIndex(DIM, 10, HnswOptions())
    made.add([f"r{i}" for i in range(n)], unit_rows(n, DIM, 1), [1] * n)
    return made


def keys(s3: S3) -> list[str]:
    client = boto3.client("s3")
    found = client.list_objects_v2(Bucket=s3.bucket).get("Contents", [])
    client.close()
    return [entry["Key"] for entry in found]


def test_what_one_matcher_saved_another_loads(s3: S3, tmp_path: Path) -> None:
    one = store(s3, tmp_path / "one")
    for offset, n in ((20, 5), (42, 30)):
        one.save(3, MODELS, offset, {"de": (index(n), offset - 1)})
    back = store(s3, tmp_path / "other").load(3, MODELS, APPLIED)
    assert back is not None
    assert (back.offset, len(back.indexes["de"])) == (42, 30)
    assert all(key.startswith(f"dedup/person/3/{42:020d}-") for key in keys(s3)), "the older one is gone"
    assert store(s3, tmp_path / "other").load(4, MODELS, APPLIED) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_one_whose_upload_was_cut_off_does_not_exist(s3: S3, tmp_path: Path) -> None:
    """The manifest comes last."""
    one = store(s3, tmp_path)
    one.save(3, MODELS, 20, {"de": (index(5), 19)})
    one.save(3, MODELS, 42, {"de": (index(30), 41)})
    client = boto3.client("s3")
    manifest = next(key for key in keys(s3) if key.endswith("manifest.json"))
    client.delete_object(Bucket=s3.bucket, Key=manifest)
    client.close()
    assert one.load(3, MODELS, APPLIED) is None
    one.save(3, MODELS, 50, {"de": (index(31), 41)})
    assert all(f"{50:020d}" in key for key in keys(s3))


def test_where_it_is_away_a_save_is_said_to_have_failed_and_a_load_is_waited_for(
    s3: S3, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(s3, tmp_path).save(3, MODELS, 42, {"de": (index(5), 41)})
    s3.stop()
    store(s3, tmp_path).save(3, MODELS, 43, {"de": (index(5), 41)})
    assert "snapshot not written" in "".join(capsys.readouterr())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def comes_back(seconds: float) -> None:
        assert seconds > 0
        s3.start()

    back = store(s3, tmp_path, comes_back, patience_seconds=3600).load(3, MODELS, APPLIED)
    assert back is not None
    assert back.offset == 42
    assert "waiting for the snapshot store" in "".join(capsys.readouterr())


def test_what_the_doctor_asks(s3: S3, tmp_path: Path) -> None:
    store(s3, tmp_path).check()
    assert keys(s3) == [], "it leaves nothing"
    with pytest.raises(SnapshotError, match=r"check state\.snapshots|does not exist"):
        ObjectSnapshots("s3://no-such-bucket/dedup", tmp_path / "spool", FILES).check()


def test_where_it_stays_away_the_index_is_replayed(s3: S3, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(s3, tmp_path).save(3, MODELS, 42, {"de": (index(5), 41)})
    s3.stop()
    assert store(s3, tmp_path).load(3, MODELS, APPLIED) is None
    assert "the index is replayed instead" in "".join(capsys.readouterr())
    s3.start()


@pytest.mark.parametrize("url", ["nosuchthing://bucket/a", "gs://bucket/its-library-is-not-installed"])
def test_a_url_that_cannot_be_used_is_a_settings_error(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"state\.snapshots"):
        ObjectSnapshots(url, tmp_path, FILES)


@pytest.mark.parametrize("url", ["", "/srv/snapshots", "s3://", "s3:bucket", "sftp://me:secret@host/srv"])
def test_what_is_no_url_or_holds_a_password_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingsError, match=r"state\.snapshots") as refused:
        load_settings(None, {"state.snapshots": url})
    assert "secret" not in str(refused.value)
