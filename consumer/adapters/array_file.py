"""Arrays in files of numpy's format.

Not by `np.save`, nor by `ndarray.tofile`, which that calls: C keeps the last few kilobytes to itself until the file is
closed, and where the disk is full by then nobody is told.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Raises OSError."""
    rows = np.ascontiguousarray(array)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(rows))
        file.write(rows.data)


def read_array(path: Path) -> npt.NDArray[Any]:
    """Raises OSError, and ValueError for what is no array; `np.load` would guess what else the file may be."""
    with path.open("rb") as file:
        array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array
