"""Whether a saved model is whole: what transformers does not find it makes up, at random, and only warns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from export.errors import ExportError

UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)
"""What loading a broken folder raises."""

_UNUSED = ("pooler.", "mask_token", "embeddings.mask_token")
"""Parts of encoders that an export does not use, and checkpoints of other tasks do not have."""


def complete(loaded: tuple[Any, Mapping[str, Any]], folder: Path, needed: Sequence[str] = ()) -> Any:
    """The model of `from_pretrained(..., output_loading_info=True)`. Raises ExportError when weights are missing.

    `needed` names what is used although most exports do not.
    """
    model, found = loaded
    if odd := found.get("mismatched_keys"):
        raise ExportError(f"{folder}: {len(odd)} weights have another shape than config.json says")
    spare = tuple(part for part in _UNUSED if not part.startswith(tuple(needed))) if needed else _UNUSED
    if missing := sorted(name for name in found["missing_keys"] if not name.startswith(spare)):
        raise ExportError(
            f"{folder} lacks {len(missing)} weights, the first is {missing[0]}: it is another model than its "
            "config.json says"
        )
    return model
