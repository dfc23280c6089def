"""A command line whose subcommands are modules with `add_arguments(parser)` and `run(arguments)`."""

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence

from consumer.errors import DedupError
from export.errors import ExportError


def dispatch(package: str, subcommands: Mapping[str, str], description: str | None, argv: Sequence[str] | None) -> int:
    """Run the subcommand, with `_` for `-` a module of `package`. Exit status: 0 done, 1 refused, 2 wrong arguments."""
    name = package.rpartition(".")[2]
    parser = argparse.ArgumentParser(prog=f"python -m {package}", description=description)
    parsers = parser.add_subparsers(dest="subcommand", required=True)
    wanted = next((word for word in (sys.argv[1:] if argv is None else argv) if word in subcommands), None)
    for subcommand, summary in subcommands.items():
        subparser = parsers.add_parser(subcommand, help=summary)
        if subcommand == wanted:
            try:
                # Only what was asked for is imported: torch takes seconds, and may be absent.
                module = importlib.import_module(f"{package}.{subcommand.replace('-', '_')}")
            except ModuleNotFoundError as error:
                print(f"{name}: {error.name} is not installed; install the extra `export`", file=sys.stderr)
                return 1
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
    except (ExportError, DedupError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0
