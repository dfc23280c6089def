"""`dedup feedback` and `dedup explain`: what people say of pairs, and why the service decided as it did."""

from collections.abc import Mapping
from pathlib import Path

import click

from consumer.commands.options import configured, in_utf8, print_json, with_settings


@click.command()
@click.argument("records", metavar="[A B]", nargs=-1, callback=in_utf8)
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
    from consumer.review import hand_in, say

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


@click.command()
@click.argument("names", metavar="[A B | CLUSTER]", nargs=-1, callback=in_utf8)
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
    from consumer.explain import explain_files, explain_stored
    from consumer.prose import text_of

    if (len(names) in {1, 2}) == (files is not None) or len(names) > 2:
        raise click.UsageError("name two records, or one cluster or record; or give two records by --files")
    settings = configured(config, {"profile": profile, "log.level": "error"})
    told = explain_files(settings, *files) if files is not None else explain_stored(settings, names, scope)
    if as_json:
        print_json(told)
    else:
        click.echo("\n".join(text_of(told)))
