"""What an evaluation looks like: `summary.json`, three drawings, and one HTML page that holds them.

The page and `summary.json` name records by id; the page also shows what the wrong pairs hold, so it is as personal as
the file that was evaluated.
"""

import base64
import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import orjson
from matplotlib.figure import Figure

from consumer.errors import SettingsError
from consumer.evaluate import Drawings, Evaluation

_BINS = 60
_SHOWN_SUBSETS = 12


def write_report(outcome: Evaluation, drawings: Drawings, out: Path) -> None:
    """Fill the folder `out`. Raises SettingsError when it cannot be written."""
    figures = {
        "precision_recall.png": _precision_recall(outcome, drawings),
        "scores.png": _scores(drawings),
        "sizes.png": _sizes(outcome),
    }
    images = {name: _png(figure) for name, figure in figures.items()}
    page = _page(outcome, drawings, images)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in images.items():
            (out / name).write_bytes(content)
        (out / "summary.json").write_bytes(orjson.dumps(summary(outcome), option=orjson.OPT_INDENT_2))
        (out / "report.html").write_text(page, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{error.filename or out}: {error.strerror}") from error


def summary(outcome: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON values; sizes are text there, as JSON's keys are."""
    content = asdict(outcome)
    for name in ("true_sizes", "found_sizes"):
        content[name] = {str(size): count for size, count in content[name].items()}
    return content


def _page(outcome: Evaluation, drawings: Drawings, images: Mapping[str, bytes]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("consumer"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    inline = {name: base64.b64encode(content).decode() for name, content in images.items()}
    return environment.get_template("report.html").render(
        e=outcome, values=drawings.values, images=inline, subsets=outcome.subsets[:_SHOWN_SUBSETS]
    )


def _precision_recall(outcome: Evaluation, drawings: Drawings) -> Figure:
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.step(drawings.curve.recall, drawings.curve.precision, where="post", label="candidate pairs, any threshold")
    scores = outcome.pairwise.scores
    axes.plot([scores.recall], [scores.precision], "o", label="clusters, as configured")
    match = outcome.string_match
    axes.plot([match.recall], [match.precision], "x", label="string matching")
    axes.axvline(outcome.candidate_recall, linestyle=":", color="grey", label="what the search found")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    axes.legend(loc="lower left")
    return figure


def _scores(drawings: Drawings) -> Figure:
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot()
    shown = [
        part[part >= 0] for part in (drawings.others, drawings.matches)
    ]  # below 0 lies what had too little evidence
    axes.hist(shown, bins=_BINS, range=(0, 1), histtype="stepfilled", alpha=0.6, label=["different", "the same"])
    axes.set(xlabel="fused score", ylabel="candidate pairs", yscale="log")
    axes.legend()
    return figure


def _sizes(outcome: Evaluation) -> Figure:
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for sizes, marker, label in ((outcome.true_sizes, "o", "true"), (outcome.found_sizes, "x", "found")):
        axes.plot(list(sizes.keys()), list(sizes.values()), marker, label=label)
    axes.set(xlabel="records in a cluster", ylabel="clusters", xscale="log", yscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.legend()
    return figure


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure.savefig(content, format="png", dpi=120)
    return content.getvalue()
