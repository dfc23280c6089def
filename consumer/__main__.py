"""The command line. Standard output is for results; progress, logs and errors go to standard error."""

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from consumer import logs
from consumer.commands.acls import acls
from consumer.commands.dlq import dlq
from consumer.commands.erase import erase
from consumer.commands.options import configured, print_json, with_settings
from consumer.commands.recovery import migrate, rebuild, verify
from consumer.errors import DedupError, SettingsError
from consumer.settings import load_settings

_console = Console(stderr=True)
_MARKS = {"ok": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "fault": "[red]✗[/red]"}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dedup-consumer")
def cli() -> None:
    """Find duplicate records in a stream, as they arrive."""


@cli.command()
@click.option("--role", type=click.Choice(["all", "encode", "match"]), default="all", help="Which stages to run.")
@with_settings
def run(role: Any, profile: str | None, config: Path | None) -> None:
    """Run the service until SIGTERM or Ctrl-C."""
    from consumer.service import Service  # noqa: PLC0415  # the help text should not load ONNX Runtime

    os.umask(0o077)  # snapshots hold vectors, which are personal data
    settings = configured(config, {"profile": profile})
    with Service(settings, role) as service:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        service.wait()
    if service.failure is not None:
        raise service.failure


@cli.command()
@click.option("--records", type=click.IntRange(min=1), default=5000, show_default=True, help="Signups to send.")
@click.option("--seed", type=int, default=7, show_default=True)
@click.option("--serve", is_flag=True, help="Stay up afterwards, with metrics and health exposed.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of metrics and health; 0: any free one.")
def demo(records: int, seed: int, serve: bool, port: int) -> None:
    """Watch duplicates being found in a live stream, with nothing to install or set up."""
    from consumer.demo import Seen, demo_service, run_demo  # noqa: PLC0415  # see run

    logs.configure(load_settings(None, {"log.level": "warning", "log.format": "console"}).log)
    with ExitStack() as up:
        with _console.status("starting an embedded broker, Redis, and both stages"):
            settings, service = up.enter_context(demo_service(port))
        with _progress("signups") as bar:
            task = bar.add_task("", total=records)

            def show(p: Seen) -> None:
                bar.update(task, completed=p.decided, description=f"{p.events} events, {p.clusters} clusters")

            outcome = run_demo(settings, service, records, seed, show)
        _show_examples(outcome.examples, outcome.values)
        print_json(outcome.figures())
        if serve:
            _console.print(f"serving http://127.0.0.1:{service.port}/metrics, /livez, /readyz; Ctrl-C ends it")
            for event in outcome.examples[:1]:
                why = f"DEDUP_REDIS__URL={settings.redis.url.get_secret_value()} dedup explain {event['subject']}"
                _console.print(f"why a cluster is one: {why}", highlight=False, soft_wrap=True)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: service.stop())
            service.wait()


def _show_examples(examples: list[Mapping[str, Any]], values: Mapping[str, Mapping[str, Any]]) -> None:
    for event in examples:
        data = event["data"]
        _console.print(f"\n[bold]{data['cluster_id']}[/bold] {data['kind']}, version {data['version']}")
        for record in data["members"]:
            value = values[record]
            keep = " ← keep" if record == data["record_to_keep"] else ""
            shown = f"{value['name']} · {value.get('city', '—')} · {value['browser']} on {value['os']}"
            _console.print(f"  {record}  {shown}{keep}", highlight=False, soft_wrap=True)
        for edge in data["evidence"][:1]:
            why = ", ".join(f"{name} {cosine:.2f}" for name, cosine in edge["similarities"].items())
            _console.print(f"  why: probability {edge['probability']:.2f} from {why}", highlight=False, soft_wrap=True)
    _console.print()


@cli.command()
@click.argument("source", metavar="INPUT.jsonl", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the results.")
@click.option(
    "--feedback",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSONL of what people say of pairs, applied after the records.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@with_settings
def batch(
    source: Path, out: Path, feedback: Path | None, as_json: bool, profile: str | None, config: Path | None
) -> None:
    """Cluster the records of a file with the engine of the service."""
    from consumer.batch import run_batch  # noqa: PLC0415  # see run

    settings = configured(config, {"profile": profile, "log.level": "warning"})
    with _progress("bytes") as bar:
        task = bar.add_task("", total=source.stat().st_size)
        summary = run_batch(settings, source, out, lambda read: bar.advance(task, read), feedback)
    if as_json:
        print_json(asdict(summary))
    else:
        click.echo(
            f"{summary.records} records, {summary.clusters} duplicate clusters with {summary.clustered_records} records, "
            f"{summary.rejected} lines rejected; see {out}/clusters.csv"
        )


@cli.command()
@click.argument("source", metavar="INPUT.jsonl", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--truth",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with the columns id and cluster_id.",
)
@click.option("--cross-source", is_flag=True, help="Score only pairs whose `source` differs, as in linking two files.")
@click.option(
    "--singles",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Leave one record alone of this share of the entities: labelled files hold more duplicates than most streams.",
)
@click.option("--orders", type=click.IntRange(min=0), default=10, show_default=True, help="Random orders of arrival.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of the orders, the singles and the bootstrap.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the report.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@with_settings
def evaluate(
    source: Path,
    truth: Path,
    cross_source: bool,
    singles: float,
    orders: int,
    seed: int,
    out: Path | None,
    as_json: bool,
    profile: str | None,
    config: Path | None,
) -> None:
    """Cluster a labelled file with the engine of the service, and say how right that is."""
    try:
        from consumer.evaluate import evaluate as run  # noqa: PLC0415  # see run
        from consumer.report import summary, write_report  # noqa: PLC0415  # see run
    except ModuleNotFoundError as error:
        raise SettingsError(f"{error.name} is not installed: pip install 'dedup-consumer[evaluate]'") from None
    settings = configured(config, {"profile": profile, "log.level": "warning"})
    with _progress("") as bar:
        task = bar.add_task("", total=None)

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        outcome, drawings = run(
            settings,
            source,
            truth,
            cross_source=cross_source,
            singles=singles,
            orders=orders,
            seed=seed,
            progress=show,
        )
    if out is not None:
        write_report(outcome, drawings, out)
    if as_json:
        print_json(summary(outcome))
        return
    for name, scored in (("pairwise", outcome.pairwise), ("B³", outcome.b_cubed)):
        s, i = scored.scores, scored.intervals["f1"]
        click.echo(f"{name}: precision {s.precision}, recall {s.recall}, F1 {s.f1} ({i.low} to {i.high})")
    click.echo(
        f"string matching: F1 {outcome.string_match.f1}; true pairs that the search found: {outcome.candidate_recall}"
    )
    if worst := outcome.largest_false.records:
        click.echo(f"largest false cluster: {worst} records of {outcome.largest_false.entities}")
    if out is not None:
        click.echo(f"see {out}/report.html")


@cli.group()
def topics() -> None:
    """Manage the topics of a profile."""


@topics.command("create")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@with_settings
def topics_create(as_json: bool, profile: str | None, config: Path | None) -> None:
    """Create the topics that are missing, as the settings say."""
    from consumer.profile import load_profile  # noqa: PLC0415  # see run
    from consumer.wiring import create_topics  # noqa: PLC0415  # see run

    settings = configured(config, {"profile": profile})
    outcomes = create_topics(settings, load_profile(settings.profile))
    if as_json:
        print_json(dict(outcomes))
    else:
        for name, outcome in outcomes:
            click.echo(f"{name}: {outcome}")
    if any(outcome.startswith("error") for _, outcome in outcomes):
        raise click.exceptions.Exit(1)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@with_settings
def doctor(as_json: bool, profile: str | None, config: Path | None) -> None:
    """Check brokers, topics, Redis, models and GPU; say what is wrong and what to do."""
    from consumer.doctor import examine  # noqa: PLC0415  # see run

    settings = configured(config, {"profile": profile, "log.level": "error"})
    findings, results = [], Console()
    for finding in examine(settings):
        findings.append(finding)
        if not as_json:
            advice = f"; {finding.advice}" if finding.advice else ""
            results.print(
                f"{_MARKS[finding.level]} {finding.what}: {finding.detail}{advice}", highlight=False, soft_wrap=True
            )
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.level == "fault" for finding in findings):
        raise click.exceptions.Exit(1)


@cli.command()
@click.argument("records", metavar="[A B]", nargs=-1)
@click.option("--same", is_flag=True, help="They are one: join them, whatever size and quorum say.")
@click.option("--different", is_flag=True, help="They are two: keep them apart, for good.")
@click.option("--undecided", is_flag=True, help="Take an earlier word back.")
@click.option(
    "--file",
    "sheet",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Instead of A and B: a CSV with the columns a, b, verdict and, if there, by and scope.",
)
@click.option("--by", help="Who says so; shown in events.")
@click.option("--scope", help="The scope of both records, where the profile has scopes.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@with_settings
def feedback(
    records: tuple[str, ...],
    same: bool,
    different: bool,
    undecided: bool,
    sheet: Path | None,
    by: str | None,
    scope: str | None,
    as_json: bool,
    profile: str | None,
    config: Path | None,
) -> None:
    """Say of records A and B whether they are the same; the running service obeys, and so does every rebuild."""
    from consumer.review import hand_in, say  # noqa: PLC0415  # see run

    verdicts = [name for name, given in (("same", same), ("different", different), ("undecided", undecided)) if given]
    if (len(records), len(verdicts)) != ((2, 1) if sheet is None else (0, 0)):
        raise click.UsageError(
            "name two records and one of --same, --different, --undecided; or give a sheet by --file"
        )
    settings = configured(config, {"profile": profile})
    if sheet is not None:
        handed, topic = hand_in(settings, sheet, by, scope)
        outcome: Mapping[str, object] = {"said": len(handed.said), "unanswered": handed.unanswered, "topic": topic}
        told = f"{len(handed.said)} verdicts are on {topic} ({handed.unanswered} rows had none)"
    else:
        if by is None:
            raise click.UsageError("--by is missing: who says so?")
        a, b = records
        said, topic = say(settings, {"a": a, "b": b, "verdict": verdicts[0], "by": by, "scope": scope})
        outcome = {**said, "topic": topic}
        told = f"`{said['verdict']}` for {said['a']} and {said['b']} is on {topic}"
    if as_json:
        print_json(outcome)
    else:
        click.echo(f"{told}; the service obeys when it gets there, and tells what changed on {settings.topics.events}")


@cli.command()
@click.argument("names", metavar="[A B | CLUSTER]", nargs=-1)
@click.option(
    "--files",
    nargs=2,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="LEFT.json RIGHT.json",
    help="Instead: judge two records that are in files, as the service would if it had no others.",
)
@click.option("--scope", help="Where they live, if the profile keeps scopes apart.")
@click.option("--json", "as_json", is_flag=True, help="Print the explanation as JSON.")
@with_settings
def explain(
    names: tuple[str, ...],
    files: tuple[Path, Path] | None,
    scope: str | None,
    as_json: bool,
    profile: str | None,
    config: Path | None,
) -> None:
    """Why records A and B are one or are not; or what holds a CLUSTER together, named by its id or by a record of it."""
    from consumer.explain import explain_files, explain_stored  # noqa: PLC0415  # see run
    from consumer.prose import text_of  # noqa: PLC0415  # see run

    if (len(names) in {1, 2}) == (files is not None) or len(names) > 2:
        raise click.UsageError("name two records, or one cluster or record; or give two records by --files")
    settings = configured(config, {"profile": profile, "log.level": "error"})
    told = explain_files(settings, *files) if files is not None else explain_stored(settings, names, scope)
    if as_json:
        print_json(told)
    else:
        click.echo("\n".join(text_of(told)))


cli.add_command(acls)
cli.add_command(verify)
cli.add_command(migrate)
cli.add_command(rebuild)
cli.add_command(dlq)
cli.add_command(erase)


def _progress(unit: str) -> Progress:
    return Progress(
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit} [dim]{{task.description}}"),
        TimeElapsedColumn(),
        console=_console,
    )


def main() -> None:
    """Entry point: our own errors become one message and a non-zero exit."""
    try:
        cli()
    except DedupError as error:
        click.echo(f"dedup: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
