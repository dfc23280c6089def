"""Types of what a command line gives: what is wrong with it is told in a line, before anything is measured."""

import argparse
import json
from pathlib import Path
from typing import Any


def count(text: str) -> int:
    """A number of things, one or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: 1 or more is wanted")
    return number


def file(text: str) -> Path:
    """A file that is there."""
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    return Path(text)


def folder(text: str) -> Path:
    """A folder that is there, or can be made there."""
    if Path(text).exists() and not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text}: is a file; a folder is wanted")
    return Path(text)


def figures(text: str) -> dict[str, Any]:
    """What another measurement wrote as JSON: a file, or the last line that was printed."""
    content = file(text).read_text(encoding="utf-8", errors="replace").strip()
    for part in (content, content.rpartition("\n")[2]):
        try:
            found = json.loads(part)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    raise argparse.ArgumentTypeError(f"{text}: a JSON object of figures is wanted, as the file or its last line")
