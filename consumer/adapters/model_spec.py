"""The `spec.json` of a model's folder, which `python -m export` writes: what the model is, and how it is to be fed."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from consumer.errors import ModelError

_T = TypeVar("_T")


def read_spec(folder: Path, what: str, maker: str, take: Callable[[Mapping[str, Any]], _T]) -> _T:
    """What `take` makes of the spec. Raises ModelError when there is none, or it is not that of `what`.

    `maker` is what follows `python -m export` to make such a folder.
    """
    path = folder / "spec.json"
    try:
        return take(json.loads(path.read_bytes()))
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}); point to a folder made by `python -m export {maker}`"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path}: is not the spec of {what} ({error!r}); make it again with `python -m export {maker}`"
        ) from error


def spec_says(folder: Path, name: str, value: str) -> bool:
    """Whether the spec says so. False also for one that cannot be read: loading the model reports that."""
    try:
        return bool(json.loads((folder / "spec.json").read_bytes())[name] == value)
    except (OSError, ValueError, KeyError, TypeError):
        return False
