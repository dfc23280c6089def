"""Spellings of one entity: best-threshold pairwise F1 per set, of our encoder beside MiniLM, lexical and trigrams.

Ours is trained without the set's domain (`--hold-out domain`) or without the set (`--hold-out set`), or is a finished
model (`--model`), and then sets that it saw are marked; also whitened, as a matcher does once it has seen all of the set
(`consumer.whitening`), and so beside the lexical vector, which then has a third of the cosine. The others are not trained.
The threshold is the best one for each method on each set, so this compares similarities, not decisions.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from consumer import whitening
from consumer.adapters.lexical_encoder import LexicalEncoder
from consumer.adapters.onnx_session import CPU
from consumer.adapters.onnx_text_encoder import OnnxTextEncoder
from consumer.adapters.subword_encoder import SubwordEncoder
from consumer.ports import Encoder
from consumer.whitening import Span
from export import families, labelled, train_text
from export.arguments import positive
from export.errors import ExportError
from export.evaluate import pairwise
from export.evaluate.pairwise import Floats
from export.labelled import LabelledSet

MINILM = Path(__file__).parents[2] / "models" / "onnx" / "all-minilm-l6-v2"
WORKS = ("dblp_acm", "imdb_tmdb", "cora", "cddb")
SETS = (
    "crm_composite_A", "febrl1", "febrl2", "febrl3", "fake1000", "historical50k_dev", "names_en_korean",
    "abt_buy", "lspc_computers", "gold_cameras", "gold_computers", "promap_en_test", "shopee_dev", *WORKS,
)  # fmt: skip
OURS, WHITENED, BOTH, LEXICAL, FLOOR = "ours", "ours, whitened", "with lexical, whitened", "lexical, 192", "trigrams"
_TEST_ONLY = ("shopee_dev",)
_MOST = 6_000
_BATCH = 64
_SAMPLE_SEED = 5
"""Of records; not one of `--seeds`, so that every model is tested on the same ones."""


@dataclass(frozen=True, slots=True)
class Row:
    """What came out for a set: F1 per method, one figure a seed for ours; and whether ours had seen it."""

    tested: LabelledSet
    f1: dict[str, list[float]]
    seen: bool


@dataclass(slots=True)
class Stopwatch:
    """Texts and seconds of processor time per method: on one thread those of the clock, where nothing else runs."""

    texts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def vectors(self, name: str, encoder: Encoder, texts: Sequence[str]) -> Floats:
        """float32 [n, d], in batches as they come, timed."""
        rows = [{"text": text} for text in texts]
        started = time.process_time()
        parts = [encoder.encode(rows[at : at + _BATCH]).vectors for at in range(0, len(rows), _BATCH)]
        self.seconds[name] = self.seconds.get(name, 0) + time.process_time() - started
        self.texts[name] = self.texts.get(name, 0) + len(texts)
        return np.concatenate(parts)

    def speed(self, name: str) -> float | None:
        return self.texts[name] / self.seconds[name] if name in self.texts else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds a folder per set")
    parser.add_argument(
        "--sets", nargs="*", help=f"which to test; without it {', '.join(SETS)}, as far as they are there"
    )
    parser.add_argument("--hold-out", choices=("domain", "set"), default="domain", help="what ours is not trained on")
    parser.add_argument("--seeds", default="7", help="of training, such as 7,8,9")
    parser.add_argument("--model", type=Path, help="a finished subword model instead of training")
    parser.add_argument("--test-only", nargs="*", default=list(_TEST_ONLY), help="sets never trained on")
    parser.add_argument(
        "--most", type=positive, default=_MOST, help="records of a set that are tested, by whole entities"
    )
    parser.add_argument("--out", type=Path, help="a file for the table, beside the screen")
    train_text.add_size(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measure and print a Markdown table. Raises ExportError when a set is missing or broken."""
    known = [name for name in SETS if (arguments.data / name / "truth.csv").is_file()]
    tested = {
        name: labelled.read(arguments.data / name, _SAMPLE_SEED, arguments.most) for name in arguments.sets or known
    }
    if not tested:
        raise ExportError(f"--data {arguments.data}: none of {', '.join(SETS)} is there")
    watch = Stopwatch()
    rows = {name: Row(one, {}, seen=False) for name, one in tested.items()}
    for name, one in tested.items():
        print(f"{name}: {len(one.texts)} records", flush=True)
        rows[name].f1.update(_untrained(one, watch))
    if arguments.model:
        seen = train_text.trained_on(arguments.model)
        for name, one in tested.items():
            rows[name] = replace(rows[name], seen=name in seen)
            _ours(rows[name], one, arguments.model, watch)
    else:
        for names, folder in _models(arguments, known, tested):
            for name in names:
                _ours(rows[name], tested[name], folder, watch)
    text = markdown(list(rows.values()), watch, arguments)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text, "utf-8")


def domain(one: LabelledSet) -> str:
    """persons, works (papers, films, records) or products."""
    if "name" in one.fields:
        return "persons"
    return "works" if one.name in WORKS else "products"


def similarities(vectors: Floats) -> pairwise.Rows:
    return lambda first, last: np.asarray(vectors[first:last] @ vectors.T, np.float32)


def score(one: LabelledSet, rows: pairwise.Rows) -> float:
    """Best F1 of a set as it may be scored: on judged pairs only, across sources only, or on all pairs."""
    if not one.pairs:
        return pairwise.best(rows, one.entities, one.sides).f1
    judged = np.array([rows(a, a + 1)[0, b] for a, b, _ in one.pairs], np.float32)
    return pairwise.best_of_judged(judged, [match for _, _, match in one.pairs]).f1


def _models(
    arguments: argparse.Namespace, known: Sequence[str], tested: Mapping[str, LabelledSet]
) -> Iterator[tuple[list[str], Path]]:
    """Names of sets, and a model that never saw them nor what is held out with them; for each seed."""
    for seed in map(int, arguments.seeds.split(",")):
        sets = [labelled.read(arguments.data / name, seed) for name in known if name not in arguments.test_only]
        drawn = families.generated(arguments.families, seed, arguments.people)
        groups: dict[str, list[str]] = {}
        for name, one in tested.items():
            groups.setdefault(domain(one) if arguments.hold_out == "domain" else name, []).append(name)
        for group, names in groups.items():
            kept = [one for one in sets if group not in {domain(one), one.name}]
            print(f"seed {seed}, without {group}: {', '.join(one.name for one in kept)}", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                train_text.train_into(Path(folder), kept, drawn, arguments, seed)
                yield names, Path(folder)


def _ours(row: Row, one: LabelledSet, folder: Path, watch: Stopwatch) -> None:
    encoder = SubwordEncoder(folder, ["text"], providers=[CPU])
    vectors = watch.vectors(OURS, encoder, one.texts)
    learnt, spelled = whitened(vectors), whitened(watch.vectors(LEXICAL, _lexical(one), one.texts))
    both = np.concatenate([np.sqrt(2 / 3) * learnt, np.sqrt(1 / 3) * spelled], 1)
    ways = {OURS: vectors, WHITENED: learnt, BOTH: both}
    f1 = {name: score(one, similarities(rows)) for name, rows in ways.items()}
    for name, figure in f1.items():
        row.f1.setdefault(name, []).append(figure)
    print(f"{one.name}: {f1[OURS]:.3f}, whitened {f1[WHITENED]:.3f}", flush=True)


def whitened(vectors: Floats) -> Floats:
    """Unit rows whose products are the cosines of unit rows, float32 [n, d], after whitening with all of them."""
    block = whitening.learnt(vectors, Span(0, 0, vectors.shape[1], 1.0))
    along = vectors.astype(np.float64) @ block.directions
    shortened = vectors + along * (np.sqrt(1 + block.gains) - 1) @ block.directions.T
    # a text without a feature has no direction
    return np.asarray(shortened / np.maximum(np.linalg.norm(shortened, axis=1, keepdims=True), 1e-9), np.float32)


def _lexical(one: LabelledSet) -> LexicalEncoder:
    # As in the profiles: in titles whole words and digits count for more.
    words, digits = (0.0, 1.0) if domain(one) == "persons" else (4.0, 3.0)
    return LexicalEncoder(["text"], 192, bytes(16), words=words, digits=digits)


def _untrained(one: LabelledSet, watch: Stopwatch) -> dict[str, list[float]]:
    encoders: dict[str, Encoder] = {
        "MiniLM": OnnxTextEncoder(MINILM, ["text"], providers=[CPU], threads=1),
        LEXICAL: _lexical(one),
    }
    f1 = {name: [score(one, similarities(watch.vectors(name, it, one.texts)))] for name, it in encoders.items()}
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3)).fit_transform(one.texts)
    f1[FLOOR] = [score(one, lambda first, last: np.asarray((grams[first:last] @ grams.T).toarray(), np.float32))]
    return f1


def markdown(rows: Sequence[Row], watch: Stopwatch, arguments: argparse.Namespace) -> str:
    """A line a set, the mean, the texts per second; what ours saw is marked with a star."""
    methods = [OURS, WHITENED, BOTH, "MiniLM", LEXICAL, FLOOR]
    how = (
        f"is {arguments.model.name}"
        if arguments.model
        else f"trained without the {arguments.hold_out}, seeds {arguments.seeds}"
    )
    sampled = f"sets over {arguments.most} records sampled by whole entities, seed {_SAMPLE_SEED}"
    lines = [
        f"Best-threshold pairwise F1; ours {how}; {sampled}.",
        "",
        f"| set | domain | fields | records | scored | {' | '.join(methods)} |",
        "|---|---|---|---:|---|" + "---:|" * len(methods),
    ]
    for row in rows:
        one = row.tested
        scored = f"{len(one.pairs)} judged pairs" if one.pairs else "across sources" if one.sides else "all pairs"
        star = " *" if row.seen else ""
        figures = " | ".join(_figure(row.f1[method]) for method in methods)
        lines.append(
            f"| {one.name}{star} | {domain(one)} | {', '.join(one.fields)} | {len(one.texts)} | {scored} | {figures} |"
        )
    means = " | ".join(f"{statistics.mean(statistics.mean(row.f1[method]) for row in rows):.3f}" for method in methods)
    speeds = " | ".join(f"{speed:.0f}" if (speed := watch.speed(method)) else "" for method in methods)
    lines += [f"| **mean** | | | | | {means} |", f"| texts/s of processor time, one thread | | | | | {speeds} |", ""]
    if any(row.seen for row in rows):
        lines += ["A star marks a set that the model was trained on.", ""]
    return "\n".join(lines)


def _figure(f1: Sequence[float]) -> str:
    if len(f1) == 1:
        return f"{f1[0]:.3f}"
    return f"{statistics.mean(f1):.3f} ± {statistics.stdev(f1):.3f}"
