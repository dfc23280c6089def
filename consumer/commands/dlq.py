"""`dedup dlq`: look at what the stages could not read, and send it to them again."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson

from consumer.commands.options import configured, print_json, with_settings
from consumer.letters.dead_letters import Choice
from consumer.records import Position

_KEY_CHARS = 60


@click.group()
def dlq() -> None:
    """What the stages could not read: look at it, and send it to them again."""


def _choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--reason", help="Only letters whose reason has this in it."),
        click.option("--stage", type=click.Choice(["encode", "match"]), help="Only letters of this stage."),
        click.option(
            "--at",
            multiple=True,
            metavar="TOPIC/PARTITION/OFFSET",
            help="Only the letter of the message that was there; may be given often.",
        ),
    ):
        command = option(command)
    return command


def _choice(reason: str | None, stage: str | None, at: tuple[str, ...]) -> Choice:
    origins = set()
    for text in at:
        try:
            origins.add(Position.parse(text))
        except ValueError:
            raise click.UsageError(f"--at {text}: write TOPIC/PARTITION/OFFSET, as `dedup dlq list` shows it") from None
    return Choice(reason, stage, frozenset(origins))


@dlq.command("list")
@_choosing
@click.option(
    "--limit", type=click.IntRange(min=0), default=20, show_default=True, help="So many are shown, the newest."
)
@click.option("--by-offset", is_flag=True, help="Show them in the order of where they came from, not the newest first.")
@click.option("--payload", is_flag=True, help="Show values too: they may be personal data.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@with_settings
def list_letters(
    reason: str | None,
    stage: str | None,
    at: tuple[str, ...],
    limit: int,
    by_offset: bool,
    payload: bool,
    as_json: bool,
    profile: str | None,
    config: Path | None,
) -> None:
    """Count the dead letters by their reason, and show the newest."""
    from consumer.letters.replay import Mailbox

    choice = _choice(reason, stage, at)
    with Mailbox(configured(config, {"profile": profile, "log.level": "error"})) as mailbox:
        listing = mailbox.look(choice, limit)
    rows = [_row(found, payload=payload) for found in listing.newest]
    if by_offset:
        rows.sort(key=lambda row: _place(row["from"]))
    total = sum(listing.counts.values())
    if as_json:
        counts = [{"stage": s, "reason": kind, "letters": n} for (s, kind), n in listing.counts.most_common()]
        head = {"letters": total, "waiting": listing.waiting, "foreign": listing.foreign, "reasons": counts}
        print_json({**head, "shown": rows})
        return
    click.echo(f"{total} dead letters, {listing.waiting} of them not replayed")
    if listing.foreign:
        click.echo(f"{listing.foreign} other messages in these topics are no dead letters of this service")
    for (name, kind), n in listing.counts.most_common():
        click.echo(f"{n:>8}  {name}: {kind}")
    _print_rows(rows)


def _row(found: Any, *, payload: bool) -> dict[str, Any]:
    letter, key = found.letter, found.message.key
    row = {
        "rejected": _time(letter.rejected_ms),
        "stage": letter.stage,
        "reason": letter.reason,
        "from": str(letter.origin),
        "sent": _time(letter.sent_ms),
        "key": None if key is None else key.decode(errors="backslashreplace"),
        "bytes": letter.size,
        "sha256": letter.sha256,
        "replayed": found.handled,
    }
    if payload:
        value = found.message.value
        row["payload"] = None if value is None else value.decode(errors="backslashreplace")
    return row


def _print_rows(rows: list[dict[str, Any]]) -> None:
    """Two lines a letter, three with its payload: what there is to tell of one fits no row of a table."""
    for row in rows:
        told = [
            f"rejected {row['rejected']}",
            f"sent {row['sent']}",
            "no key" if row["key"] is None else f"key {_quoted(row['key'][:_KEY_CHARS])}",
            f"{row['bytes']} bytes",
            *([f"sha256 {row['sha256'][:12]}"] if row["sha256"] else []),
            *(["replayed"] if row["replayed"] else []),
        ]
        click.echo(f"{row['from']}  {row['stage']}: {row['reason']}\n    {', '.join(told)}")
        if row.get("payload") is not None:
            click.echo(f"    {_quoted(row['payload'])}")


def _quoted(text: str) -> str:
    """As JSON writes it: what steers a terminal, or ends a line, is spelled out."""
    return orjson.dumps(text).decode()


def _place(text: str) -> tuple[str, int, int]:
    position: Position = Position.parse(text)
    return position.topic, position.partition, position.offset


def _time(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(milliseconds)  # a producer may put any number there


@dlq.command("replay")
@_choosing
@click.option("--all", "everything", is_flag=True, help="All that were not replayed yet.")
@click.option("--dry-run", is_flag=True, help="Only say what would be sent.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@with_settings
def replay(
    reason: str | None,
    stage: str | None,
    at: tuple[str, ...],
    everything: bool,
    dry_run: bool,
    as_json: bool,
    profile: str | None,
    config: Path | None,
) -> None:
    """Send letters back to the topics they came from: each once, and none that would undo something newer."""
    from consumer.letters.replay import Mailbox

    if everything == any((reason, stage, at)):
        raise click.UsageError("say which: --reason, --stage or --at, or else --all")
    choice = _choice(reason, stage, at)
    with Mailbox(configured(config, {"profile": profile, "log.level": "error"})) as mailbox:
        outcome = mailbox.replay(choice, dry_run=dry_run)
    if as_json:
        print_json({**asdict(outcome), "dry_run": dry_run})
        return
    click.echo(f"{outcome.replayed} {'would be ' if dry_run else ''}sent again")
    for n, why in (
        (
            outcome.superseded,
            "passed over: something newer of the same key was accepted since, or the record was erased",
        ),
        (outcome.repeated, "passed over: the message was sent again before, or is in another letter too"),
        (outcome.left_out, "passed over: the message is too large for a letter; its sender may send it again"),
        (outcome.restated, "newer messages came meanwhile and were sent once more, behind the older ones"),
        (outcome.left, "left: more gaps than Kafka remembers with a commit; replay the rest of them first"),
    ):
        if n:
            click.echo(f"{n} {why}")
