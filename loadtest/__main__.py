"""The command line of the load test. Standard output is for results, standard error for progress.

What a command runs is imported when it runs: the help text should not load ONNX Runtime.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from consumer.commands.options import configured, make_folder, with_settings
from consumer.errors import DedupError, SettingsError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Measure a running service from outside, and what this machine could do at best."""


@cli.command()
@click.argument("workload")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the report.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Messages a second, instead of the workload's."
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Instead of the workload's.")
@click.option("--seed", type=int, help="Of people, moments and errors; else the workload's, else drawn.")
@click.option("--at-rest", is_flag=True, help="Also score the same messages without load, in this process alone.")
@click.option(
    "--metrics", multiple=True, help="Address of the service's metrics, http://host:9464/metrics; repeatable."
)
@with_settings
def run(
    workload: str,
    out: Path | None,
    rate: float | None,
    seconds: float | None,
    seed: int | None,
    at_rest: bool,
    metrics: tuple[str, ...],
    profile: str | None,
    config: Path | None,
) -> None:
    """Send WORKLOAD, a bundled one or a file, to the cluster of the settings, where `dedup run` is at work.

    The people in it are invented, and their ids begin with the name of the run. They stay in the cluster; nothing is cleaned up.
    """
    tester, report = _needs("loadtest.run"), _needs("loadtest.report")
    from loadtest.workload import load_workload

    settings = configured(config, {"profile": profile, "log.level": "warning"})
    chosen = load_workload(workload, rate, seconds)
    make_folder(out)
    outcome = tester.run(settings, chosen, metrics, seed, _say, at_rest=at_rest)
    if out is not None:
        report.write_report(outcome, out)
        _say(f"see {out}/report.html")
    for fault in outcome.faults:
        _say(fault)
    click.echo(json.dumps(outcome.summary()))
    if outcome.faults:
        raise click.exceptions.Exit(1)


@cli.command()
@click.argument("a", type=click.Path(exists=True, path_type=Path))
@click.argument("b", type=click.Path(exists=True, path_type=Path))
@click.option("--force", is_flag=True, help="Also where the workloads differ.")
def compare(a: Path, b: Path, force: bool) -> None:
    """Put two reports beside each other: B ÷ A."""
    from loadtest.comparison import compared, load_report

    table = Table("", "A", "B", "B ÷ A", box=None)
    for row in compared(load_report(a), load_report(b), force=force):
        table.add_row(*row)
    Console().print(table, highlight=False)


@cli.command()
@click.option("--records", default="10000,100000", show_default=True, help="Sizes of the index, with commas between.")
@click.option(
    "--sample", type=click.IntRange(min=256), default=4096, show_default=True, help="Records measured in a round."
)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Medians count.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for ceiling.json.")
@with_settings
def ceiling(records: str, sample: int, rounds: int, out: Path | None, profile: str | None, config: Path | None) -> None:
    """Measure the parts by themselves, then the stream that is made of them, on the Kafka and Redis of the settings.

    All of it is done here, in this process, under names of its own, which stay in the cluster. No service needs to run.
    """
    from loadtest.ceiling.measure import Plan, measure
    from loadtest.ceiling.table import summary, tables

    try:
        sizes = sorted({int(size) for size in records.split(",")})
    except ValueError:
        raise click.UsageError(f"--records {records}: numbers with commas between them are wanted") from None
    configured(config, {"profile": profile, "log.level": "error"})
    make_folder(out)
    found = measure(config, profile, sizes, Plan(sample, rounds), _say)
    for table in tables(found):
        Console(width=120).print(table, highlight=False)
    result = json.dumps(summary(found))
    if out is not None:
        (out / "ceiling.json").write_text(result, encoding="utf-8")
    click.echo(result)


def _needs(module: str) -> Any:
    """Import what the extra `loadtest` brings. Raises SettingsError where it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{error.name} is not installed: install the extra `loadtest` (pip install '.[loadtest]' in a checkout)"
        ) from None


def _say(text: str) -> None:
    click.echo(text, err=True)


def main() -> None:
    """Entry point: our own errors become one message and a non-zero exit."""
    try:
        cli()
    except DedupError as error:
        click.echo(f"loadtest: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
