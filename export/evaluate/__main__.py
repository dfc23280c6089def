"""The command line: `python -m export.evaluate image --photos DIR --model models/onnx/copy-vit`."""

import sys
from collections.abc import Sequence

from export.command import dispatch

MODALITIES = {
    "image": "transformed copies among photos: recall at a precision, beside perceptual hashes and histograms",
    "text": "spellings of one entity: best-threshold F1, beside character trigrams and MiniLM",
}
"""Each is a module of this package with `add_arguments(parser)` and `run(arguments)`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 refused (nothing written), 2 wrong arguments."""
    return dispatch("export.evaluate", MODALITIES, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
