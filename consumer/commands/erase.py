"""`dedup erase`: have a record forgotten, and prove that it was."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from consumer.commands.options import configured, in_utf8, print_json, with_settings


@click.command()
@click.argument("record_id", metavar="ID", callback=in_utf8)
@click.option(
    "--verify", is_flag=True, help="Wait until it is forgotten, then look for it everywhere; 1 if it is found."
)
@click.option("--scan-only", is_flag=True, help="Ask for nothing, only look: for a record that was erased before.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds that --verify gives the service, and the next snapshots.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@with_settings
def erase(
    record_id: str,
    verify: bool,
    scan_only: bool,
    wait: float,
    as_json: bool,
    profile: str | None,
    config: Path | None,
) -> None:
    """Ask the running service to forget a record: its vector, membership and evidence."""
    from consumer.erasure.erase import prove_erasure, request_erasure

    settings = configured(config, {"profile": profile})
    if not (verify or scan_only):
        topic = request_erasure(settings, record_id)
        if as_json:
            print_json({"id": record_id, "topic": topic})
        else:
            click.echo(f"a null value for {record_id} is on {topic}; the service forgets it when it gets there")
        return
    proof = prove_erasure(settings, record_id, wait, request=not scan_only)
    if as_json:
        report = asdict(proof.report)
        print_json({"id": record_id, "topic": proof.topic, "erased": proof.holds, "late": proof.late, **report})
    else:
        tell(record_id, proof)
    if not proof.holds:
        raise click.exceptions.Exit(1)


def tell(record_id: str, proof: Any) -> None:
    """Say in words what a proof came to."""
    report = proof.report
    looked = ", ".join(f"{n} {_COUNTED.get(place, place)}" for place, n in report.looked_at.items())
    if proof.late:
        click.echo(f"not through: {proof.late}")
    click.echo(f"{record_id}: {'nothing is left' if report.clean else 'IS LEFT'} in the present state ({looked} read)")
    for found in report.live:
        click.echo(f"  {found.where}: {found.what}")
    if report.retained:
        click.echo("messages that topics still keep, and lose by themselves:")
    for kept in report.retained:
        when = f"gone by {kept.gone_by}" if kept.gone_by else "NO END IS SET"
        click.echo(f"  {kept.topic}: {kept.messages} {kept.what}, the newest of {kept.newest}; {when} ({kept.because})")
    if report.remembered:
        click.echo("its id is remembered as a keyed digest, by which late copies are known")


_COUNTED = {"redis": "Redis keys", "topics": "messages", "files": "snapshot files"}
