"""A disk that is full by the last bytes of a file: whoever writes an index is told."""

import resource
import sys
from functools import partial
from pathlib import Path

import pytest

from consumer.adapters.forked import Forked
from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.adapters.row_file import RowFile
from tests.factories import unit_rows

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no copies of the process are made here")

DIM = 8


def room_for(size: int) -> partial[None]:
    """What lets this process write no more of any file than so many bytes."""
    return partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("name", ["vectors.bin", "facts.bin"])
def test_rows_without_an_end_are_no_snapshot(tmp_path: Path, name: str) -> None:
    rows = RowFile(DIM)
    for n in range(0, 1000, 100):
        rows.add([f"r{n + i}" for i in range(100)], unit_rows(100, DIM, n), [1] * 100)
    _, saving = rows.save(tmp_path)
    saving.finish()
    size = (tmp_path / name).stat().st_size
    (write,) = (call for call, file in zip(saving.frozen, ("vectors.bin", "facts.bin"), strict=True) if file == name)
    with pytest.raises(OSError, match="too large"):
        Forked([room_for(size - 1), write]).wait()


@pytest.mark.parametrize("exact_below", [0, 100_000])
def test_nor_are_arrays(tmp_path: Path, exact_below: int) -> None:
    index = GrowingIndex(DIM, exact_below, HnswOptions(dims=4))
    index.add([f"r{n}" for n in range(60)], unit_rows(60, DIM, 1), [1] * 60)
    for block in (0, 1):
        index.turn_to(block)
    index.save(tmp_path).finish()
    size = (tmp_path / ("axes.npy" if exact_below == 0 else "vectors.npy")).stat().st_size
    (tmp_path / "again").mkdir()
    with pytest.raises(OSError, match="too large"):
        Forked([room_for(size - 1), lambda: index.save(tmp_path / "again").finish()]).wait()
