"""What a snapshot store lets go: of one that could not be written, and of what nobody will read again."""

import weakref
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consumer.adapters.growing_index import GrowingIndex
from consumer.ports import Saving
from tests.snapshot_places import DIM, MODELS, OPTIONS, Clock, Place


class _Rows:
    """Rows as they were, kept until they are written."""

    def put_back(self) -> None: ...


class _Full(GrowingIndex):
    """An index for whose graph the disk has no room."""

    def __init__(self) -> None:
        super().__init__(DIM, 100, OPTIONS)
        self.kept: weakref.ref[_Rows] | None = None

    def save(self, directory: Path) -> Saving:
        del directory
        rows = _Rows()
        self.kept = weakref.ref(rows)
        return Saving(frozen=[self._no_room], beside=[rows.put_back])

    def _no_room(self) -> None:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("kind", ["disk", "object"])
def test_of_one_that_failed_no_rows_are_kept(tmp_path: Path, kind: str) -> None:
    snapshots, index = Place(kind, tmp_path, Clock()).store(), _Full()
    staged = snapshots.stage(3, MODELS, 50, {"de": (index, 49)})
    assert staged is not None
    assert index.kept is not None
    assert index.kept() is not None
    with capture_logs():
        snapshots.publish(staged)
    # the thread that publishes holds it until there is another one, hours perhaps; each change would be noted for it
    assert index.kept() is None
