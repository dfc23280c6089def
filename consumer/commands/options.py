"""What commands share: the options that choose settings, JSON on standard output, progress on standard error."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from consumer import logs
from consumer.errors import SettingsError
from consumer.settings import Settings, load_settings

CONSOLE = Console(stderr=True)


def configured(config: Path | None, overrides: Mapping[str, object]) -> Settings:
    """Settings from the file, the environment and `overrides` (those not None); logging is set up as they say."""
    given = {key: value for key, value in overrides.items() if value is not None}
    settings = load_settings(config, given)
    logs.configure(settings.log)
    return settings


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--config` and `--profile`."""
    for option in (
        click.option("--config", type=click.Path(path_type=Path), help="Settings file (YAML)."),
        click.option("--profile", help="signup, listing, or a path to a profile."),
    ):
        command = option(command)
    return command


def in_utf8(_context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
    """Callback of an argument that names records: what the shell gave in other bytes is no name of any."""
    try:
        for name in (value,) if isinstance(value, str) else value:
            name.encode()
    except UnicodeEncodeError:
        raise click.BadParameter("not in UTF-8") from None
    return value


def make_folder(out: Path | None) -> None:
    """Make the folder for results, where one is named, before the work. Raises SettingsError if they could not be written."""
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=out):
                pass
    except OSError as error:
        raise SettingsError(f"{out}: {error.strerror}; name a folder that can be written") from error


def print_json(value: object) -> None:
    """One line of JSON on standard output."""
    click.echo(orjson.dumps(value))


def progress(unit: str) -> Progress:
    """A bar of so many of a unit."""
    return Progress(
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit} [dim]{{task.description}}"),
        TimeElapsedColumn(),
        console=CONSOLE,
    )
