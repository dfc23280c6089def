"""The command line: `python -m export text --model <folder> --name <encoder> --dim 64 --out models/onnx`."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from export.errors import ExportError

MODALITIES = {
    "text": "a BERT-family sentence encoder, with PCA",
    "image": "a vision encoder (ViT, ViT-MAE, CLIP, ResNet), with PCA",
    "behaviour": "the behaviour encoder fitted on your own login times",
    "device": "the device encoder fitted on your own records",
    "pca": "an exported folder, its vectors reduced on your own data",
    "train-text": "a subword encoder of our own, trained here",
    "train-image": "an image encoder of our own for copies, trained here",
}
"""Each, with `_` for `-`, is a module of this package with `add_arguments(parser)` and `run(arguments)`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 written, 1 refused (nothing written), 2 wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    subcommands = parser.add_subparsers(dest="modality", required=True)
    wanted = next((word for word in (sys.argv[1:] if argv is None else argv) if word in MODALITIES), None)
    for modality, summary in MODALITIES.items():
        subparser = subcommands.add_parser(modality, help=summary)
        if modality == wanted:
            try:
                # Only what was asked for is imported: torch takes seconds, and may be absent.
                module = importlib.import_module(f"export.{modality.replace('-', '_')}")
            except ModuleNotFoundError as error:
                print(f"export: {error.name} is not installed; install the extra `export`", file=sys.stderr)
                return 1
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
    except ExportError as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
