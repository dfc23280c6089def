"""`dedup verify`, `dedup rebuild` and `dedup migrate`."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from consumer.commands.options import configured, print_json, with_settings

_console = Console(stderr=True)


@click.command()
@click.option("--replace", is_flag=True, help="Put the rebuilt state in the place of what is in Redis.")
@click.option(
    "--to-end", is_flag=True, help="All of the vectors topic counts as decided: the group's offsets are lost."
)
@click.option("--drop-missing", is_flag=True, help="Let members of clusters go whose vector is not in the topic.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@with_settings
def rebuild(
    replace: bool, to_end: bool, drop_missing: bool, as_json: bool, profile: str | None, config: Path | None
) -> None:
    """Make Redis again from the topics, while no matcher runs."""
    from consumer.recovery.rebuild import rebuild as run

    os.umask(0o077)  # snapshots hold vectors, which are personal data
    settings = configured(config, {"profile": profile, "log.level": "warning"})
    with _showing() as show:
        made = run(settings, replace=replace, to_end=to_end, drop_missing=drop_missing, progress=show)
    if as_json:
        print_json(asdict(made))
        return
    click.echo(f"{made.records} records and {made.clusters} clusters in {made.scopes} scopes, {made.seconds} s")
    if made.differing:
        click.echo(f"{made.differing} records will be judged again: what was told of them is not what is decided now")
    if made.torn:
        click.echo(f"{made.torn} clusters were told to have members that are none any more; the matcher tells of it")
    if made.unreadable:
        click.echo(f"{made.unreadable} vectors are of other models, or damaged, and count for nothing")
    if made.lost:
        done = "the matcher lets them go" if made.dropped else "send them again, or say --drop-missing to let them go"
        click.echo(f"{made.lost} members of clusters have no vector ({', '.join(made.lost_examples)}…): {done}")
    click.echo("start the matchers; then `dedup verify`")


@click.command()
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to look again while a running service moves what differs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@with_settings
def verify(wait_seconds: float, as_json: bool, profile: str | None, config: Path | None) -> None:
    """Compare Redis, topics and index, beside a running service or without; exit code 1 when they differ."""
    from consumer.recovery.verification import KINDS
    from consumer.recovery.verify import verify as run

    settings = configured(config, {"profile": profile, "log.level": "error"})
    with _showing() as show:
        seen = run(settings, wait_seconds, show)
    if as_json:
        print_json(asdict(seen))
    else:
        moved = ", while the service wrote" if seen.moved else ""
        click.echo(
            f"{seen.records} records and {seen.clusters} clusters in {seen.scopes} scopes, read {seen.passes} times{moved}"
        )
        for kind, count in seen.differences.items():
            click.echo(f"{count} of {kind}: {KINDS[kind]}")
            for example in (e for e in seen.examples if e.kind == kind):
                click.echo(f"    {example.scope} {example.subject} {example.detail}".rstrip())
        click.echo("they differ" if seen.differences else "no difference")
    if seen.differences:
        raise click.exceptions.Exit(1)


@click.group()
def migrate() -> None:
    """Change to vectors of other models, in a topic of their own, keeping clusters and their ids."""


_source = click.option("--from", "source", required=True, metavar="TOPIC", help="The vectors topic in use until now.")


@migrate.command("report")
@_source
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@with_settings
def migrate_report(source: str, as_json: bool, profile: str | None, config: Path | None) -> None:
    """Beside the running service: what would merge and what would split."""
    from consumer.recovery.migrate import report

    settings = configured(config, {"profile": profile, "log.level": "warning"})
    with _showing() as show:
        seen = report(settings, source, show)
    if as_json:
        print_json(asdict(seen))
        return
    told = seen.outlook
    click.echo(f"{told.records} records in both; {seen.words} words of people come along")
    click.echo(
        f"clusters: {told.clusters_now} now, {told.clusters_then} then; {told.unchanged} the same, {told.grown} grow, "
        f"{told.created} are new, {told.merges} merge others, {told.splits} of now split"
    )
    click.echo(f"pairs together: {told.pairs_now} now, {told.pairs_then} then, {told.pairs_both} both")
    for what, examples in (("merge", told.merge_examples), ("split", told.split_examples)):
        for example in examples:
            groups = " | ".join(", ".join(group) for group in example.groups)
            click.echo(f"    {what} {' + '.join(example.clusters)}: {groups}")
    if seen.behind:
        click.echo(f"the new encoders are {seen.behind} messages behind: report again when they are there")
    if seen.unreadable:
        click.echo(f"{seen.unreadable} messages of the new topic are of other models")
    if seen.missing:
        click.echo(
            f"{seen.missing} records are not in the new topic: {', '.join(seen.missing_examples)}…; send them again"
        )


@migrate.command("switch")
@_source
@click.option("--replace", is_flag=True, help="Put the new state in the place of what is in Redis.")
@click.option("--drop-missing", is_flag=True, help="Forget records that the new topic lacks.")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for encoders to catch up and for matchers to stop.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@with_settings
def migrate_switch(
    source: str,
    replace: bool,
    drop_missing: bool,
    wait_seconds: float,
    as_json: bool,
    profile: str | None,
    config: Path | None,
) -> None:
    """Hand the clusters over: prepare, wait until the matchers in use are stopped, finish. Going back is the same."""
    from consumer.recovery.migrate import switch

    os.umask(0o077)  # see rebuild
    settings = configured(config, {"profile": profile, "log.level": "warning"})
    with _showing() as show:
        done = switch(
            settings, source, replace=replace, drop_missing=drop_missing, wait_seconds=wait_seconds, progress=show
        )
    if as_json:
        print_json(asdict(done))
        return
    made = done.rebuilt
    click.echo(f"{made.records} records and {made.clusters} clusters; {done.words} words of people came along")
    click.echo(f"{made.differing} records will be judged again by the new models")
    if done.missing:
        click.echo(f"{done.missing} records were left behind")
    click.echo(f"start the new matchers; the old ones have been stopped for {done.stopped_seconds} s at least")


@contextmanager
def _showing() -> Iterator[Callable[[str, int, int], None]]:
    with Progress(
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.description}"),
        TimeElapsedColumn(),
        console=_console,
    ) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
