"""`dedup batch` and `dedup evaluate`: the engine of the service over a file."""

from dataclasses import asdict
from pathlib import Path

import click

from consumer.commands.options import configured, make_folder, print_json, progress, with_settings
from consumer.errors import SettingsError


@click.command()
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
    from consumer.batch import run_batch

    settings = configured(config, {"profile": profile, "log.level": "warning"})
    with progress("bytes") as bar:
        task = bar.add_task("", total=source.stat().st_size)
        summary = run_batch(settings, source, out, lambda read: bar.advance(task, read), feedback)
    if as_json:
        print_json(asdict(summary))
    else:
        click.echo(
            f"{summary.records} records, {summary.clusters} duplicate clusters with {summary.clustered_records} records, "
            f"{summary.rejected} lines rejected; see {out}/clusters.csv"
            + (f", and for why {out}/dead_letters.jsonl" if summary.rejected else "")
        )


@click.command()
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
@click.option("--orders", type=click.IntRange(0, 1000), default=10, show_default=True, help="Random orders of arrival.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=7,
    show_default=True,
    help="Of the orders, the singles and the bootstrap.",
)
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
        from consumer.evaluate import evaluate as run
        from consumer.report import summary, write_report
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{error.name} is not installed: install the extra `evaluate` (pip install '.[evaluate]' in a checkout)"
        ) from None
    settings = configured(config, {"profile": profile, "log.level": "warning"})
    make_folder(out)
    with progress("") as bar:
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
    if outcome.rejected or outcome.unlabelled:
        click.echo(
            f"of {outcome.records + outcome.rejected} records {outcome.rejected} cannot be read (`dedup batch` says why) and "
            f"{outcome.unlabelled} are not in {truth}: none of these is in the scores"
        )
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
