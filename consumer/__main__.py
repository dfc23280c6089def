"""The command line. Standard output is for results; progress, logs and errors go to standard error.

What a command runs is imported when it runs: the help text should not load ONNX Runtime.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import structlog
from rich.console import Console

from consumer import logs
from consumer.commands.acls import acls
from consumer.commands.dlq import dlq
from consumer.commands.erase import erase
from consumer.commands.files import batch, evaluate
from consumer.commands.options import CONSOLE, configured, print_json, progress, with_settings
from consumer.commands.recovery import migrate, rebuild, verify
from consumer.commands.stewards import explain, feedback
from consumer.commands.topics import topics
from consumer.errors import DedupError
from consumer.open_files import open_as_many_as_allowed
from consumer.settings import load_settings

_MARKS = {"ok": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "fault": "[red]✗[/red]"}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dedup-consumer")
def cli() -> None:
    """Find duplicate records in a stream, as they arrive."""
    open_as_many_as_allowed()
    # ignored, as a parent may leave it, it would hide how a copy of the process ended that wrote a snapshot
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@cli.command()
@click.option("--role", type=click.Choice(["all", "encode", "match"]), default="all", help="Which stages to run.")
@with_settings
def run(role: Any, profile: str | None, config: Path | None) -> None:
    """Run the service until SIGTERM or Ctrl-C."""
    from consumer.service import Service

    os.umask(0o077)  # snapshots hold vectors, which are personal data
    settings = configured(config, {"profile": profile})
    if fault := settings.privacy.key_fault:
        structlog.get_logger().warning(
            "privacy.key", fault=fault, advice="set DEDUP_PRIVACY__KEY before the first record"
        )
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
    from consumer.demo import Seen, demo_service, run_demo

    logs.configure(load_settings(None, {"log.level": "warning", "log.format": "console"}).log)
    heed = _heeded_signals()
    with ExitStack() as up:
        with CONSOLE.status("starting an embedded broker, Redis, and both stages"):
            settings, service = up.enter_context(demo_service(port, heed))
        with progress("signups") as bar:
            task = bar.add_task("", total=records)

            def show(p: Seen) -> None:
                heed()
                bar.update(task, completed=p.decided, description=f"{p.events} events, {p.clusters} clusters")

            outcome = run_demo(settings, service, records, seed, show)
        _show_examples(outcome.examples, outcome.values)
        print_json(outcome.figures())
        if serve:
            CONSOLE.print(f"serving http://127.0.0.1:{service.port}/metrics, /livez, /readyz; Ctrl-C ends it")
            for event in outcome.examples[:1]:
                why = f"DEDUP_REDIS__URL={settings.redis.url.get_secret_value()} dedup explain {event['subject']}"
                CONSOLE.print(f"why a cluster is one: {why}", highlight=False, soft_wrap=True)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: service.stop())
            heed()
            service.wait()


def _heeded_signals() -> Callable[[], None]:
    """Note signals that end a process, and give what ends it: called often, else the demo's Redis would outlive it.

    An exception out of a handler would be lost where foreign code runs, or come out of it as another. A second signal
    does what it does by itself.
    """
    noted: list[int] = []

    def note(number: int, _: object) -> None:
        noted.append(number)
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    def heed() -> None:
        if noted:
            sys.exit(128 + noted[0])

    for number in (signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, note)
    return heed


def _show_examples(examples: list[Mapping[str, Any]], values: Mapping[str, Mapping[str, Any]]) -> None:
    for event in examples:
        data = event["data"]
        CONSOLE.print(f"\n[bold]{data['cluster_id']}[/bold] {data['kind']}, version {data['version']}")
        for record in data["members"]:
            value = values[record]
            keep = " ← keep" if record == data["record_to_keep"] else ""
            shown = f"{value['name']} · {value.get('city', '—')} · {value['browser']} on {value['os']}"
            CONSOLE.print(f"  {record}  {shown}{keep}", highlight=False, soft_wrap=True)
        for edge in data["evidence"][:1]:
            why = ", ".join(f"{name} {cosine:.2f}" for name, cosine in edge["similarities"].items())
            CONSOLE.print(f"  why: probability {edge['probability']:.2f} from {why}", highlight=False, soft_wrap=True)
    CONSOLE.print()


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@with_settings
def doctor(as_json: bool, profile: str | None, config: Path | None) -> None:
    """Check brokers, topics, Redis, models and GPU; say what is wrong and what to do."""
    from consumer.doctor import examine

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


for command in (topics, batch, evaluate, feedback, explain, acls, verify, migrate, rebuild, dlq, erase):
    cli.add_command(command)


def main() -> None:
    """Entry point: our own errors become one message and a non-zero exit."""
    try:
        cli()
    except DedupError as error:
        click.echo(f"dedup: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
