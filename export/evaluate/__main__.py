"""The command line: `python -m export.evaluate image --photos DIR --model models/onnx/copy-vit`."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from consumer.errors import DedupError
from export.errors import ExportError

MODALITIES = {
    "image": "transformed copies among photos: recall at a precision, beside perceptual hashes and histograms",
    "text": "spellings of one entity: best-threshold F1, beside character trigrams and MiniLM",
}
"""Each is a module of this package with `add_arguments(parser)` and `run(arguments)`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 measured, 1 could not be, 2 wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m export.evaluate", description=__doc__)
    subcommands = parser.add_subparsers(dest="modality", required=True)
    wanted = next((word for word in (sys.argv[1:] if argv is None else argv) if word in MODALITIES), None)
    for modality, summary in MODALITIES.items():
        subparser = subcommands.add_parser(modality, help=summary)
        if modality == wanted:
            try:
                # Only what was asked for is imported: each needs packages that the other does not.
                module = importlib.import_module(f"export.evaluate.{modality}")
            except ModuleNotFoundError as error:
                print(f"evaluate: {error.name} is not installed; install the extra `export`", file=sys.stderr)
                return 1
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
    except (ExportError, DedupError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
