"""Copies among photos: recall at a precision, of an image encoder and of what one would use without it.

Every photo is an original in the index. Queries are transformed copies of some of them; a query's own original is a
hit, any other is a false alarm. Scores of all pairs are counted, so a method has to say when it does not know.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt

from consumer.adapters.onnx_session import CPU, Session, verified
from consumer.adapters.pixels import Preprocessing, pixels, preprocessing_of
from consumer.errors import ModelError
from export.arguments import natural, positive
from export.errors import ExportError
from export.evaluate import baselines
from export.evaluate.recall import Floats, recalls, scored
from export.photos import Photo, picture, read
from export.transforms import ATTACKS, Attack, jpeg, mixed

Describe = Callable[[Sequence[bytes]], Mapping[str, Floats]]
"""Files → per method a row for each of them."""

STRENGTHS: Mapping[str, float] = {"light": 0.2, "medium": 0.5, "heavy": 0.8}
TASKS: Mapping[str, Attack] = {**ATTACKS, "mix of 2 or 3": mixed}
_WITHOUT_STRENGTH = ("horizontal flip", "rotation by 90°")
_TWINS = 0.8


@dataclass(frozen=True, slots=True)
class Queries:
    """Transformed copies: their bytes, the row of each one's original, and what was done."""

    contents: Sequence[bytes]
    originals: npt.NDArray[np.intp]
    tasks: npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Report:
    """Recall per method and task: at one threshold for all tasks, and at each task's own."""

    photos: int
    distractors: int
    queries: int
    ignored: int
    precision: float
    seed: int
    shared: Mapping[str, Mapping[str, float]]
    own: Mapping[str, Mapping[str, float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--photos", type=Path, required=True, help="truth.csv with img/<id>.jpg, or JPEG files")
    parser.add_argument("--distractors", type=Path, nargs="*", default=[], help="more photos, never asked for")
    parser.add_argument("--model", type=Path, required=True, help="folder with model.onnx and spec.json")
    parser.add_argument("--queries", type=positive, default=200, help="photos per transform and strength")
    parser.add_argument("--precision", type=float, default=0.99)
    parser.add_argument("--seed", type=natural, default=7)
    parser.add_argument("--out", type=Path, help="a file for the tables, beside the screen")


def run(arguments: argparse.Namespace) -> None:
    """Measure and print Markdown tables. Raises ExportError when there is too little to measure on, ModelError."""
    trained, describe = encoder(arguments.model)
    photos = [photo for photo in read(arguments.photos) if photo.kind not in trained]
    more = [photo for folder in arguments.distractors for photo in read(folder)]
    report = judge(photos, more, [describe, baselines.describe], arguments.queries, arguments.precision, arguments.seed)
    text = markdown(report)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text, "utf-8")


def judge(
    photos: Sequence[Photo],
    distractors: Sequence[Photo],
    methods: Sequence[Describe],
    count: int,
    precision: float,
    seed: int,
) -> Report:
    """Ask for copies of `count` photos per task and strength among all photos and `distractors`.

    Raises ExportError when there are fewer than two photos.
    """
    if len(photos) < 2:
        raise ExportError(f"{len(photos)} photos of classes that the model was not trained on; two are the least")
    asked = queries([photo.content for photo in photos], count, seed)
    everything = [photo.content for photo in [*photos, *distractors]]
    ignored = twins(everything)
    shared, own = {}, {}
    for describe in methods:
        indexed = describe(everything)
        for name, rows in describe(asked.contents).items():
            compared = baselines.SIMILARITIES.get(name, baselines.product)(rows, indexed[name])
            scores = scored(compared, asked.originals, ignored)
            shared[name], own[name] = recalls(scores, asked.tasks, precision)
    pairs = int(ignored.sum()) // 2
    return Report(len(photos), len(distractors), len(asked.contents), pairs, precision, seed, shared, own)


def queries(contents: Sequence[bytes], count: int, seed: int) -> Queries:
    """JPEG files at qualities of 70 to 95; the same for the same seed."""
    chance = Random(seed)
    made: list[bytes] = []
    originals: list[int] = []
    tasks: list[str] = []
    for name, attack in TASKS.items():
        for label, strength in STRENGTHS.items():
            if name in _WITHOUT_STRENGTH and label != "medium":
                continue
            for row in chance.sample(range(len(contents)), min(count, len(contents))):
                changed = attack(picture(contents[row]), chance, strength)
                made.append(jpeg(changed, chance.randint(70, 95)))
                originals.append(row)
                tasks.append(name if name in _WITHOUT_STRENGTH else f"{name}, {label}")
    return Queries(made, np.array(originals), np.array(tasks))


def twins(contents: Sequence[bytes]) -> npt.NDArray[np.bool_]:
    """Pairs of photos that are one shot taken twice: grey thumbnails of 32 by 32 pixels that correlate by .8 or more.

    Nobody could say whether a transformed copy of one is a copy of the other, so no method is asked.
    """
    grey = np.stack([np.asarray(picture(content, 32).convert("L"), np.float64).ravel() for content in contents])
    grey -= grey.mean(1, keepdims=True)
    grey /= np.maximum(np.linalg.norm(grey, axis=1, keepdims=True), 1e-9)
    alike = grey @ grey.T >= _TWINS
    np.fill_diagonal(alike, val=False)
    return np.asarray(alike)


def encoder(folder: Path) -> tuple[frozenset[str], Describe]:
    """The classes that a folder's model was trained on, and the model as it is served. Raises ModelError."""
    try:
        spec = json.loads((folder / "spec.json").read_text("utf-8"))
        name, preprocessing = spec["name"], preprocessing_of(spec["preprocessing"])
        model = verified(folder / "model.onnx", spec["sha256"]["model.onnx"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / 'spec.json'}: not the spec of an image encoder ({error!r})") from error
    session = Session(model, folder, providers=[CPU], threads=1)
    trained = frozenset(spec.get("training", {}).get("classes", ()))
    return trained, served(name, session, preprocessing)


def served(name: str, session: Session, preprocessing: Preprocessing, batch: int = 32) -> Describe:
    """Bytes to pixels to unit rows, as in production."""

    def describe(contents: Sequence[bytes]) -> Mapping[str, Floats]:
        rows = []
        for start in range(0, len(contents), batch):
            seen = np.stack([pixels(content, preprocessing) for content in contents[start : start + batch]])
            rows.append(session.run("embedding", {"pixels": seen}))
        return {name: np.concatenate(rows)}

    return describe


def markdown(report: Report) -> str:
    """Two tables: the headline at one threshold per method, and below it at each transform's own."""
    summary = (
        f"{report.queries} transformed copies of {report.photos} photos among those and {report.distractors} "
        f"distractors; {report.ignored} pairs of photos shot twice are not counted; seed {report.seed}."
    )
    lines = [summary]
    titles = {
        f"Recall at {report.precision:.0%} precision, one threshold per method for all transforms": report.shared,
        f"Recall at {report.precision:.0%} precision, a threshold for each row": report.own,
    }
    for title, table in titles.items():
        lines += ["", f"**{title}**", "", f"| transform | {' | '.join(table)} |", "|---|" + "---:|" * len(table)]
        lines += [
            f"| {task} | {' | '.join(f'{of[task]:.3f}' for of in table.values())} |"
            for task in next(iter(table.values()))
        ]
    return "\n".join(lines) + "\n"
