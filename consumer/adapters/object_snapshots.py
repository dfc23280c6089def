"""Snapshots of indexes in an object store, or wherever else fsspec can write: `s3://bucket/prefix`.

    <url>/<partition>/<offset>-<when>-<token>/manifest.json, <n>/…

There is no rename there: the index files come first and the manifest last, so a snapshot without one does not exist.
Each has a name of its own, so two writers, one of them long replaced, never mix theirs. Files pass through a folder on the
local disk, which holds none of them for longer than it takes.
"""

import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

import fsspec
import structlog
from fsspec.callbacks import Callback

from consumer.adapters.disk_snapshots import refused, untried, written
from consumer.adapters.snapshot_files import MANIFEST, Failures, SnapshotFiles, Staged
from consumer.errors import SettingsError, SnapshotError
from consumer.metrics import METRICS
from consumer.ports import Snapshot, VectorIndex

_S3_OPTIONS: Final[Mapping[str, Any]] = {
    "config_kwargs": {"connect_timeout": 5, "read_timeout": 20, "retries": {"max_attempts": 2}}
}
"""Else a server that is away is tried for minutes."""
_PAUSE_SECONDS: Final = 5.0
_log = structlog.get_logger()


class _AwayError(Exception):
    """The store did not answer, or refused."""


class ObjectSnapshots:
    """The newest snapshot of each partition, under a URL that other matchers may share.

    An unreachable store is waited for at `load`, `patience_seconds` after it first was away; then the index is replayed
    instead: that takes long, but depends on nothing. Raises SettingsError when the URL is none that can be used.
    """

    def __init__(
        self,
        url: str,
        spool: Path,
        files: SnapshotFiles,
        patience_seconds: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._fs, self._root = _file_system(url)
        self._spool = spool
        self._files = files
        self._patience_seconds = patience_seconds
        self._sleep = sleep
        self._away_since: float | None = None
        self._failures = Failures()
        self._lock = threading.Lock()
        self.sweep()

    def save(
        self, partition: int, fingerprint: str, offset: int, scopes: Mapping[str, tuple[VectorIndex, int]]
    ) -> None:
        staged = self.stage(partition, fingerprint, offset, scopes)
        if staged is not None:
            self.publish(staged)

    def stage(
        self, partition: int, fingerprint: str, offset: int, scopes: Mapping[str, tuple[VectorIndex, int]]
    ) -> Staged | None:
        """Write the index files to the local disk. None when that failed, which is logged."""
        with METRICS.snapshot_seconds.labels("stage").time():
            try:
                folder = self._local()
                try:
                    return self._files.write(folder, partition, fingerprint, offset, scopes)
                except OSError:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise
            except OSError as error:
                self._failures.note(partition, error)
                return None

    def unsaved(self) -> Collection[int]:
        return self._failures.take()

    def publish(self, staged: Staged) -> None:
        """Make a staged snapshot the one of its partition. A failure is logged."""
        name = f"{staged.offset:020d}-{int(self._files.now() * 1000)}-{secrets.token_hex(4)}"
        home = f"{self._root}/{staged.partition}"
        with METRICS.snapshot_seconds.labels("publish").time():
            try:
                files = self._files.seal(staged)
                for file in (*files, MANIFEST):
                    self._ask(self._fs.put_file, str(staged.folder / file), f"{home}/{name}/{file}")
                self._prune(staged.partition, name)
                self.sweep()
            except (OSError, _AwayError) as error:
                self._failures.note(staged.partition, error)
                return
            finally:
                self.discard(staged)
        written(staged)

    def discard(self, staged: Staged) -> None:
        """Drop a staged snapshot, for a newer one."""
        staged.give_up()
        shutil.rmtree(staged.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what a crash left on the local disk."""
        # what is younger may be another process's, if two share a folder against advice
        for folder in self._spool.iterdir() if self._spool.is_dir() else ():
            if self._files.is_left_behind(folder):
                shutil.rmtree(folder, ignore_errors=True)
        self._files.sweep()

    def check(self) -> None:
        """Write something, list it and remove it. Raises SnapshotError when the store does not let us, or is away."""
        name = f"check-{secrets.token_hex(4)}"
        try:
            self._ask(self._fs.pipe_file, f"{self._root}/{name}/{MANIFEST}", b"{}")
            self._ask(self._fs.ls, f"{self._root}/{name}", detail=False)
            self._ask(self._fs.rm, f"{self._root}/{name}", recursive=True)
        except (OSError, _AwayError) as error:
            raise SnapshotError(str(error)) from error

    def _prune(self, partition: int, kept: str) -> None:
        """Remove what is no newer than the one kept, and what is too old to be used.

        One that is ahead of ours stays: ours may be the last of a matcher that was replaced and does not know it.
        """
        mine = _offset(kept)
        for name in self._names(partition):
            if name != kept and (_offset(name) <= mine or self._files.is_spent(_written(name))):
                self._ask(self._fs.rm, f"{self._root}/{partition}/{name}", recursive=True)

    def load(self, partition: int, fingerprint: str, applied: Mapping[str, int]) -> Snapshot | None:
        while True:
            try:
                return self._newest(partition, fingerprint, applied)
            except _AwayError as error:
                if self._waited(partition, error):
                    return None

    def _newest(self, partition: int, fingerprint: str, applied: Mapping[str, int]) -> Snapshot | None:
        def look() -> list[str]:
            names = self._names(partition)
            self._away_since = None
            return names

        for name in untried(look):
            try:
                with METRICS.snapshot_seconds.labels("load").time():
                    return self._read(f"{self._root}/{partition}/{name}", partition, fingerprint, applied)
            except FileNotFoundError:
                continue  # no manifest: it was never finished, or is being removed
            except SnapshotError as error:
                refused(partition, name, error)
        return None

    def _waited(self, partition: int, error: _AwayError) -> bool:
        """Wait a little for a store that is away; true when it was waited for long enough."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
            _log.warning("waiting for the snapshot store", reason=str(error))
        if now - self._away_since >= self._patience_seconds:
            METRICS.snapshot_failures.labels("load").inc()
            _log.error("snapshot store away: the index is replayed instead", partition=partition, reason=str(error))
            return True
        self._files.beat()
        self._sleep(min(_PAUSE_SECONDS, self._patience_seconds))
        return False

    def _read(self, remote: str, partition: int, fingerprint: str, applied: Mapping[str, int]) -> Snapshot:
        """Raises FileNotFoundError where there is no manifest, SnapshotError and _AwayError."""
        content: bytes = self._ask(self._fs.cat_file, f"{remote}/{MANIFEST}")
        manifest = self._files.manifest(content, partition, fingerprint, applied)
        try:
            folder = self._local()
        except OSError as error:
            raise SnapshotError(f"no room for it in {self._spool}: {error}") from error
        beats = Callback(hooks={"beat": lambda *_, **__: self._files.beat()})  # at every piece that is transferred
        try:
            for file in manifest["files"]:
                (folder / file).parent.mkdir(exist_ok=True)
                try:
                    self._ask(self._fs.get_file, f"{remote}/{file}", str(folder / file), callback=beats)
                except FileNotFoundError:
                    raise SnapshotError(f"{file} is missing") from None
            return self._files.load(folder, manifest)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _names(self, partition: int) -> list[str]:
        """Folders of a partition that have such a name as we give."""
        self._fs.invalidate_cache()
        try:
            found = self._ask(self._fs.ls, f"{self._root}/{partition}", detail=False)
        except FileNotFoundError:
            return []
        names = (str(path).rstrip("/").rsplit("/", 1)[-1] for path in found)
        return [name for name in names if _is_ours(name)]

    def _local(self) -> Path:
        with self._lock:
            self._spool.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self._spool))

    def _ask(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Ask the store. Raises FileNotFoundError, and _AwayError for whatever else its client raises."""
        try:
            return call(*arguments, **options)
        except FileNotFoundError:
            raise
        except Exception as error:  # each file system has libraries and errors of its own
            reason = str(error).partition("\n")[0] or "no answer"
            raise _AwayError(f"{type(error).__name__}: {reason}; check state.snapshots") from error


def _file_system(url: str) -> tuple[Any, str]:
    options = dict(_S3_OPTIONS) if url.startswith(("s3:", "s3a:")) else {}
    try:
        fs, root = fsspec.core.url_to_fs(url, skip_instance_cache=True, use_listings_cache=False, **options)
    except ImportError as error:
        hint = "install the extra `s3` (pip install '.[s3]' in a checkout)" if options else str(error)
        raise SettingsError(f"state.snapshots {url}: what reads it is not installed: {hint}") from error
    except Exception as error:
        raise SettingsError(f"state.snapshots {url}: fsspec cannot use it: {error}") from error
    return fs, str(root).rstrip("/")


def _is_ours(name: str) -> bool:
    offset, _, rest = name.partition("-")
    return len(offset) == 20 and offset.isdigit() and rest.partition("-")[0].isdigit()


def _offset(name: str) -> int:
    return int(name.partition("-")[0])


def _written(name: str) -> float:
    return int(name.split("-")[1]) / 1000
