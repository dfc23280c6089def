"""Types of arguments that several subcommands take."""

import argparse
import re

_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def positive(text: str) -> int:
    """A whole number from 1 on."""
    return _whole(text, 1)


def natural(text: str) -> int:
    """A whole number from 0 on."""
    return _whole(text, 0)


def folder_name(text: str) -> str:
    """The name of an encoder, which is that of its folder: one that leads nowhere else."""
    if not _FOLDER.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: letters, digits, dots, dashes and underscores are wanted")
    return text


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number from {least} on is wanted")
    return number
