"""A file of lines, as people and their spreadsheets save it."""

import codecs
from collections.abc import Iterator
from pathlib import Path


def lines_of(path: Path) -> Iterator[bytes]:
    """Every line with its end, without the byte-order mark that programs for Windows begin a file with. Raises OSError."""
    with path.open("rb") as file:
        for number, line in enumerate(file):
            yield line if number else line.removeprefix(codecs.BOM_UTF8)
