"""The command line: `python -m export text --model <folder> --name <encoder> --dim 64 --out models/onnx`."""

import sys
from collections.abc import Sequence

from export.command import dispatch

MODALITIES = {
    "text": "a BERT-family sentence encoder, with PCA",
    "image": "a vision encoder (ViT, ViT-MAE, CLIP, ResNet), with PCA",
    "behaviour": "the behaviour encoder fitted on your own login times",
    "device": "the device encoder fitted on your own records",
    "fusion": "what decides on pairs, fitted on labelled ones",
    "pca": "an exported folder, its vectors reduced on your own data",
    "train-text": "a subword encoder of our own, trained here",
    "train-image": "an image encoder of our own for copies, trained here",
}
"""Each, with `_` for `-`, is a module of this package with `add_arguments(parser)` and `run(arguments)`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 refused (nothing written), 2 wrong arguments."""
    return dispatch("export", MODALITIES, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
