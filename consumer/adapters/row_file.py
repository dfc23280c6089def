"""The records of a large index in a file that is mapped into memory: vectors, masks and ids, with no object for each.

What is read often stays in the page cache, which the system takes back when memory is short; of the process's own
memory a record takes the few bytes of a hash table. The file has no name, so nothing of it outlives the process.
"""

import errno
import math
import os
import shutil
import struct
import sys
import tempfile
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from consumer.adapters.id_table import IdTable
from consumer.errors import SettingsError
from consumer.ports import Saving
from consumer.records import Floats, Halves, Integers

_ID_BYTES = 40
"""Longer ids are kept beside the file."""
_GROWTH, _SLACK = 1.125, 1024
_VECTORS, _FACTS = "vectors.bin", "facts.bin"
_BIAS = np.float32(2.0**112)
_KEPT = np.int32(0x8FFFFFFF - 2**32)
"""The sign, and all but the three highest bits of the exponent."""


def id_bytes(record_id: str) -> bytes:
    """How the file of facts holds an id, its length first; the longer than 40 bytes are beside it, in JSON."""
    encoded = record_id.encode()
    return struct.pack("<I", len(encoded)) + encoded[:_ID_BYTES].ljust(_ID_BYTES, b"\0")


def as_floats(halves: Halves) -> Floats:
    """float16 → float32, exact; several times as fast as `astype`, which goes number by number. No infinities.

    The bits of a half, moved to where those of a float are, make a number that is too small by the difference of the two
    exponents' biases: 2^112.
    """
    bits = halves.view(np.int16).astype(np.int32)
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, _KEPT, out=bits)
    floats: Floats = bits.view(np.float32)
    return np.multiply(floats, _BIAS, out=floats)


class _Copy:
    """Rows on their way into a file, as they were when that began.

    A copy of the process shares the mapped file, and sees what changes there. So that is noted before it does, and put
    back once the rest is written: nobody waits for the other.
    """

    def __init__(self, rows: npt.NDArray[Any], path: Path) -> None:
        self._rows, self._path = rows, path
        self._before: dict[int, bytes] = {}
        self._written = False

    def note(self, slots: Sequence[int]) -> None:
        """These are about to change."""
        if not self._written:
            for slot in slots:
                if slot < len(self._rows) and slot not in self._before:
                    self._before[slot] = self._rows[slot].tobytes()

    def write(self) -> None:
        """In any process. Raises OSError."""
        with self._path.open("wb") as file:
            file.write(self._rows.data)  # not `tofile`: see `array_file`

    def put_back(self) -> None:
        """Then, on any thread of this one, what has changed meanwhile. Raises OSError."""
        before = list(self._before.items())  # at once, for another thread notes
        self._written = True
        with self._path.open("r+b") as file:
            for slot, row in before:
                file.seek(slot * len(row))
                file.write(row)
        self._before.clear()


class _Mapped:
    """An array in a file without a name."""

    def __init__(self, dtype: npt.DTypeLike, shape: tuple[int, ...], folder: Path | None) -> None:
        self._dtype, self._shape, self._folder = np.dtype(dtype), shape, folder
        self._copies: weakref.WeakSet[_Copy] = weakref.WeakSet()
        self._file = _file(folder)
        weakref.finalize(self, self._file.close)
        self.grow(_SLACK)

    def grow(self, length: int) -> None:
        """Make it longer; what is added is zero. Raises SettingsError when there is no room."""
        size = length * self._dtype.itemsize * math.prod(self._shape)
        try:
            if sys.platform == "linux":  # a page of a mapped file that finds no room on the disk kills the process
                os.posix_fallocate(self._file.fileno(), 0, size)
        except OSError as error:
            raise SettingsError(
                f"{self._folder or tempfile.gettempdir()}: no room for {size:,} bytes of an index ({error.strerror}). "
                "Give state.directory a larger volume"
            ) from error
        mapped = np.memmap(self._file, self._dtype, "r+", shape=(length, *self._shape))
        self.rows: npt.NDArray[Any] = mapped.view(np.ndarray)

    def put(self, slots: Sequence[int], rows: npt.ArrayLike) -> None:
        """Change some rows."""
        for copy in self._copies:
            copy.note(slots)
        self.rows[slots] = rows

    def save(self, path: Path, length: int) -> _Copy:
        """What writes the first rows as they are now."""
        copy = _Copy(self.rows[:length], path)
        self._copies.add(copy)
        return copy

    def load(self, path: Path, length: int) -> None:
        """Raises ValueError when the file has another length."""
        if path.stat().st_size != length * self._dtype.itemsize * math.prod(self._shape):
            raise ValueError(f"{path.name}: not {length} rows")
        self._file.seek(0)
        with path.open("rb") as saved:
            shutil.copyfileobj(saved, self._file, 1 << 24)
        self._file.flush()
        self.grow(length + _SLACK)


def _file(folder: Path | None) -> IO[bytes]:
    """One without a name, open as long as the index is. Raises SettingsError."""
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        advice = "See that state.directory exists and can be written to"
        if error.errno in (errno.EMFILE, errno.ENFILE):
            advice = "A scope of more than index.exact_below records has four: raise what `ulimit -Hn` tells, or that setting"
        where = folder or tempfile.gettempdir()
        raise SettingsError(f"{where}: no file for an index ({error.strerror}). {advice}") from error


class RowFile:
    """Rows by slot. A removed row's slot is given to another once it is released, the longest free first."""

    def __init__(self, dim: int, folder: Path | None = None) -> None:
        self._vectors = _Mapped("<f2", (dim,), folder)
        self._facts = _Mapped([("age", "<u8"), ("mask", "<u4"), ("size", "<u4"), ("id", "V40")], (), folder)
        self._used = self._count = 0
        self._long: dict[int, str] = {}
        self._free: deque[int] = deque()
        self._next_age = 1
        self._table = IdTable(self.id)

    def __len__(self) -> int:
        return self._count

    def find(self, record_id: str) -> int | None:
        """The slot of a record; None when it is not here."""
        return self._table.find(record_id)

    def id(self, slot: int) -> str:
        """The record in a slot."""
        _, _, size, encoded = self._facts.rows[slot].item()
        return self._long[slot] if size > _ID_BYTES else encoded[:size].decode()

    def newest(self, count: int) -> Integers:
        """Slots of so many rows at most, those that came last; the oldest first."""
        ages = self._facts.rows["age"][: self._used]
        used = np.flatnonzero(ages)
        ages = ages[used]
        if count < len(used):
            kept = np.argpartition(ages, len(used) - count)[len(used) - count :]
            used, ages = used[kept], ages[kept]
        return used[np.argsort(ages)]

    def add(self, ids: Sequence[str], vectors: Floats, masks: Sequence[int]) -> None:
        """Put records that are not here into slots."""
        slots = [self._free_slot() for _ in ids]
        facts = []
        for slot, record_id, mask in zip(slots, ids, masks, strict=True):
            encoded = record_id.encode()
            if len(encoded) > _ID_BYTES:
                self._long[slot] = record_id
            facts.append((self._next_age, mask, len(encoded), encoded[:_ID_BYTES]))
            self._next_age += 1
        self._vectors.put(slots, vectors)
        self._facts.put(slots, np.asarray(facts, self._facts.rows.dtype))
        for slot, record_id in zip(slots, ids, strict=True):
            self._table.enter(record_id, slot)
        self._count += len(ids)

    def _free_slot(self) -> int:
        """One for a row that comes; it counts as used from here on."""
        if self._free:
            return self._free.popleft()
        slot, self._used = self._used, self._used + 1
        if slot == len(self._facts.rows):
            for mapped in (self._vectors, self._facts):
                mapped.grow(int(slot * _GROWTH) + _SLACK)
        return slot

    def remove(self, record_id: str) -> int | None:
        """Overwrite a record; its slot, to be released, or None when it is not here."""
        slot = self._table.drop(record_id)
        if slot is not None:
            self._count -= 1
            self._long.pop(slot, None)
            self._vectors.put([slot], 0)
            self._facts.put([slot], np.zeros((), self._facts.rows.dtype))
        return slot

    def release(self, slots: Sequence[int]) -> None:
        """Removed rows' slots may be given to others."""
        self._free.extend(slots)

    def vectors(self, slots: Integers) -> Floats:
        """float32 [..., dim]."""
        return as_floats(np.take(self._vectors.rows, slots, axis=0))

    def ages(self, slots: Integers) -> npt.NDArray[np.uint64]:
        """A larger one came later; 0 where nothing is."""
        ages: npt.NDArray[np.uint64] = self._facts.rows["age"][slots]
        return ages

    def named(self, slots: Integers) -> tuple[list[list[str]], list[list[int]]]:
        """Ids and masks of slots [n, k]; of a slot with nothing in it, an empty id."""
        facts = self._facts.rows[slots]
        sizes = facts["size"].tolist()
        ids = [
            [
                encoded[:size].decode() if size <= _ID_BYTES else self._long.get(slot, "")
                for slot, size, encoded in zip(row, row_sizes, row_ids, strict=True)
            ]
            for row, row_sizes, row_ids in zip(slots.tolist(), sizes, facts["id"].tolist(), strict=True)
        ]
        return ids, facts["mask"].tolist()

    def save(self, directory: Path) -> tuple[dict[str, object], Saving]:
        """What `load` has to be told, and what writes the rows into a folder as they are now."""
        files = ((self._vectors, _VECTORS), (self._facts, _FACTS))
        copies = [mapped.save(directory / name, self._used) for mapped, name in files]
        long = {str(slot): record_id for slot, record_id in self._long.items()}
        return {"used": self._used, "free": list(self._free), "long": long}, Saving(
            [copy.write for copy in copies], [copy.put_back for copy in copies]
        )

    @classmethod
    def load(cls, dim: int, folder: Path | None, directory: Path, told: Mapping[str, Any]) -> "RowFile":
        """Read what was saved. Raises OSError, ValueError, KeyError or TypeError for anything else."""
        rows = cls(dim, folder)
        rows._used = told["used"]
        rows._vectors.load(directory / _VECTORS, rows._used)
        rows._facts.load(directory / _FACTS, rows._used)
        rows._free.extend(told["free"])
        rows._long = {int(slot): record_id for slot, record_id in told["long"].items()}
        rows._next_age = int(rows._facts.rows["age"][: rows._used].max(initial=0)) + 1
        slots = rows.newest(rows._used).tolist()
        rows._count = len(slots)
        rows._table = IdTable(rows.id, slots)
        return rows
