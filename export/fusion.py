"""`python -m export fusion`: fit the decider of a profile on labelled pairs, judge it on sets left out, write it.

A folder of `--data` holds `<input>.jsonl` (records as they are sent) and `truth.csv` (id, cluster_id), or, where only some
pairs are known, `labelled_pairs.csv` (id_a, id_b, match) or `feedback.jsonl` (a copy of the feedback topic: people's words).
Every folder is scored by a decider that was fitted on the others, in clusters and at several thresholds: take the
threshold that is best on all of them into the profile. Similarities should come from text models that have not seen the
folder's records: `--text-models` names one for each.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from consumer.adapters.onnx_decider import OnnxDecider
from consumer.encode import EncoderSet
from consumer.indexes import new_index
from consumer.layout import Layout
from consumer.merging import MergeRules
from consumer.profile import Profile, TextModality, load_profile
from consumer.records import Doubles
from consumer.settings import Settings, load_settings
from consumer.wiring import build_encoders
from export import additive, decider_graph, left_out, pair_sets, spec
from export.additive import Additive
from export.arguments import folder_name
from export.errors import ExportError
from export.pair_sets import PairSet

THRESHOLDS = (0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_SURE = 0.9
_MAX_DIFFERENCE = 1e-4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", required=True, help="built in, or a YAML file")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders; two at least that have truth.csv")
    parser.add_argument(
        "--across", nargs="*", default=[], metavar="NAME", help="names of folders whose truth is across sources only"
    )
    parser.add_argument("--models", type=Path, help="folder of the models that encode; else those of the package")
    parser.add_argument(
        "--text-models", nargs="+", metavar="NAME", help="text model for each folder of --data; else the profile's"
    )
    parser.add_argument(
        "--crowding",
        nargs="*",
        default=[],
        metavar="MODALITY=COSINE",
        help="count a record's candidates from this cosine on: what has more than usual is common, and says less",
    )
    parser.add_argument(
        "--whitened",
        nargs="*",
        default=[],
        metavar="MODALITY",
        help="take its cosines whitened: what is common in a folder, as its records come, counts for less",
    )
    parser.add_argument(
        "--quality",
        action="store_true",
        help="look at how complete records are: two that both lack something look alike in what little they have",
    )
    parser.add_argument(
        "--background",
        type=float,
        default=0.0,
        metavar="SLOPE",
        help="log-odds to take from a record's pairs for each that its farthest candidates, who are rarely its duplicates, "
        "have more than usual; 0 does not look at them",
    )
    parser.add_argument(
        "--damping", type=float, default=0.5, help="share of a change of the prior that is believed; 0 believes none"
    )
    parser.add_argument(
        "--against",
        nargs="*",
        default=[],
        metavar="MODALITY",
        help="what speaks against a match when it contradicts, whatever else agrees, such as a code: the fit also sees "
        "matches as they would look with another one, as no matches",
    )
    parser.add_argument(
        "--dropped",
        type=float,
        default=0.0,
        help="share of the fit that sees pairs with modalities taken away at random: where all records of a folder have the "
        "same ones, what one says without another would be a guess",
    )
    parser.add_argument(
        "--kind", choices=("additive", "neuron"), default="additive", help="neuron: a weight a modality"
    )
    parser.add_argument("--ridge", type=float, default=1.0, help="penalty on large coefficients")
    parser.add_argument("--name", type=folder_name, required=True, help="of the new folder")
    parser.add_argument("--out", type=Path, default=Path("models/onnx"))
    parser.add_argument("--licence", default="Apache-2.0", help="terms of the folder")


def run(arguments: argparse.Namespace) -> None:
    """Read, judge, fit, write. Raises ExportError or SettingsError, with nothing written."""
    _check(arguments)
    overrides = {"models.threads": 1} | ({"models.directory": arguments.models} if arguments.models else {})
    settings = load_settings(None, overrides)
    profile = load_profile(arguments.profile)
    sets, layout = _read(settings, profile, arguments)
    crowding = _crowding(arguments.crowding, layout.names)
    for option, given in (("--against", arguments.against), ("--whitened", arguments.whitened)):
        if unknown := sorted(set(given) - set(layout.names)):
            raise ExportError(f"{option} {unknown[0]}: the profile's modalities are {', '.join(layout.names)}")

    def fitted(on: Sequence[PairSet]) -> Additive:
        return additive.fit(
            on,
            layout.names,
            crowding,
            damping=arguments.damping,
            ridge=arguments.ridge,
            neuron=arguments.kind == "neuron",
            quality=arguments.quality,
            against=arguments.against,
            dropped=arguments.dropped,
            whitened=arguments.whitened,
            background_slope=arguments.background,
        )

    folds = [fitted([s for s in sets if s is not one]) for one in sets]
    plain = [left_out.log_odds(_without_prior(f), layout, s) for f, s in zip(folds, sets, strict=True)]
    measured = _judge(settings, layout, sets, folds, plain, fitted)
    factor, offset = left_out.platt(plain, sets)
    whole = fitted(sets).calibrated(factor, offset)
    measured |= {"calibration": {"factor": factor, "offset": offset}}
    _write(whole, layout, sets, profile.name, measured, arguments)


def _check(arguments: argparse.Namespace) -> None:
    """Raises ExportError for options that make no sense."""
    names = [folder.name for folder in arguments.data]
    for name in names:
        if names.count(name) > 1:
            raise ExportError(f"--data {name}: two folders of that name; rename one, what is measured goes by the name")
    if unknown := sorted(set(arguments.across) - set(names)):
        raise ExportError(f"--across {' '.join(unknown)}: the folders of --data are {', '.join(names)}")
    if not 0 <= arguments.damping <= 1:
        raise ExportError(f"--damping {arguments.damping}: a share is wanted, from 0 to 1")
    if not 0 <= arguments.background <= 1:
        raise ExportError(f"--background {arguments.background}: a number from 0 to 1 is wanted")
    if not 0 < arguments.ridge < math.inf:
        raise ExportError(f"--ridge {arguments.ridge}: a number above 0 is wanted")


def _read(settings: Settings, profile: Profile, arguments: argparse.Namespace) -> tuple[list[PairSet], Layout]:
    models = arguments.text_models or [None] * len(arguments.data)
    if len(models) != len(arguments.data):
        raise ExportError(f"--text-models: {len(models)} names for {len(arguments.data)} folders of --data")
    encoders: dict[str | None, EncoderSet] = {}
    sets = []
    for folder, model in zip(arguments.data, models, strict=True):
        if model not in encoders:
            encoders[model] = build_encoders(settings, _with_text_model(profile, model))
        made = encoders[model]
        across = folder.name in arguments.across
        maker = new_index(settings, made.layout.dim)
        k, whitened = settings.index.neighbours, arguments.whitened
        sets.append(pair_sets.read(folder, made, maker, k, across=across, whitened=whitened))
        known = int(sets[-1].known.sum())
        print(
            f"{folder.name}: {len(sets[-1].table.ids)} records, {known} known pairs, {int(sets[-1].same.sum())} matches"
        )
        if not known:
            raise ExportError(f"--data {folder}: the search brings no pair together of which anything is known")
    if sum(s.truth is not None for s in sets) < 2:
        raise ExportError("--data: two folders with truth.csv are the least: each is judged by a fit on the others")
    return sets, next(iter(encoders.values())).layout


def _with_text_model(profile: Profile, model: str | None) -> Profile:
    if model is None:
        return profile
    modalities = {
        name: m.model_copy(update={"model": model}) if isinstance(m, TextModality) else m
        for name, m in profile.modalities.items()
    }
    return profile.model_copy(update={"modalities": modalities})


def _crowding(given: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    terms = {}
    for one in given:
        modality, _, cosine = one.partition("=")
        try:
            terms[modality] = float(cosine)
        except ValueError:
            terms[modality] = math.nan
        if not -1 <= terms[modality] <= 1:
            raise ExportError(f"--crowding {one}: MODALITY=COSINE is wanted, as in name=0.75")
        if modality not in names:
            raise ExportError(f"--crowding {one}: the profile's modalities are {', '.join(names)}")
    return terms


def _judge(
    settings: Settings,
    layout: Layout,
    sets: Sequence[PairSet],
    folds: Sequence[Additive],
    plain: Sequence[Doubles],
    fitted: Callable[[Sequence[PairSet]], Additive],
) -> dict[str, object]:
    """Score each set by the fold that has not seen it, calibrated on the others; then halves whose other half was seen."""
    rules = MergeRules(settings.matching.max_cluster_size, settings.matching.quorum, settings.index.neighbours)
    calibrated = []
    for n, fold in enumerate(folds):
        others = [o for o in range(len(sets)) if o != n]
        calibrated.append(fold.calibrated(*left_out.platt([plain[o] for o in others], [sets[o] for o in others])))
    print("each folder by a decider fitted on the others, F1 (precision) of clusters:")
    left = _table(layout, sets, calibrated, rules)
    first, second = left_out.halves(sets)
    seen = fitted(first).calibrated(*left_out.platt(plain, sets))
    print("half of the entities of each folder, by a decider fitted on the other halves:")
    seen_halves = _table(layout, second, [seen] * len(second), rules)
    unmoved = [left_out.log_odds(_without_prior(d), layout, s) for d, s in zip(calibrated, sets, strict=True)]
    bins = left_out.reliability(unmoved, sets)
    for b in bins:
        print(f"from {b.least:.1f}: said {b.mean:.3f}, were {b.matches:.3f} of {b.pairs} pairs")
    return {"left_out": left, "halves": seen_halves, "reliability": [asdict(b) for b in bins]}


def _table(
    layout: Layout, sets: Sequence[PairSet], deciders: Sequence[Additive], rules: MergeRules
) -> dict[str, object]:
    """Print, and return, what the clusters of each set score at each threshold."""
    f1: dict[str, list[float]] = {}
    precision: dict[str, list[float]] = {}
    for one, decider in zip(sets, deciders, strict=True):
        if one.truth is None:
            continue
        z = left_out.log_odds(decider, layout, one)
        found = [left_out.scored(one, z, threshold, rules) for threshold in THRESHOLDS]
        f1[one.name], precision[one.name] = [s.f1 for s in found], [s.precision for s in found]
        sure, count = left_out.precision_at(one, z, _SURE)
        shown = (f"{s.f1:.3f}({s.precision:.2f})" for s in found)
        print(f"{one.name:>24}", *shown, f"pairs from {_SURE}: {sure:.3f} of {count}", flush=True)
    means = [round(float(mean), 4) for mean in np.mean(list(f1.values()), axis=0)]
    print(f"{'mean F1':>24}", *(f"{mean:.3f}      " for mean in means))
    print(f"{'threshold':>24}", *(f"{threshold:<11}" for threshold in THRESHOLDS))
    return {"thresholds": THRESHOLDS, "mean_f1": means, "f1": f1, "precision": precision}


def _without_prior(decider: Additive) -> Additive:
    return replace(decider, expectations=replace(decider.expectations, damping=0.0))


def _write(
    decider: Additive,
    layout: Layout,
    sets: Sequence[PairSet],
    profile: str,
    measured: dict[str, object],
    arguments: argparse.Namespace,
) -> None:
    """Write the folder, then read it as the service does and compare. Raises ExportError when the graph says otherwise."""
    expected = decider.expectations
    content: dict[str, object] = {
        "modality": "decider",
        "profile": profile,
        "kind": arguments.kind,
        "modalities": list(decider.modalities),
        "crowding": [
            {"modality": name, "similarity": similarity, "usual": usual}
            for (name, similarity), usual in zip(decider.crowding.items(), expected.usual, strict=False)
        ],
        "quality": decider.quality,
        "whitened": list(decider.whitened),
        "background": asdict(decider.background) if decider.background else None,
        "base_rate": expected.base_rate,
        "damping": expected.damping,
        "opset": decider_graph.OPSET,
        "licence": arguments.licence,
        "training": {s.name: {"pairs": int(s.known.sum()), "matches": int(s.same[s.known].sum())} for s in sets},
        **measured,
    }
    folder = arguments.out / arguments.name
    body = f"A decider of the profile {profile}, fitted on pairs of {', '.join(s.name for s in sets)}."
    spec.write(
        folder,
        content,
        {"model.onnx": decider_graph.graph(decider)},
        spec.notice(arguments.name, body, arguments.licence),
    )
    pairs = sets[0].table.pairs
    columns = [layout.names.index(name) for name in decider.modalities]
    beyond = np.random.default_rng(0).normal(size=(len(pairs.ids), len(expected.usual)))
    asked = pairs.similarities[:, columns], pairs.present[:, columns], beyond
    difference = float(np.abs(OnnxDecider(folder).weigh(*asked) - decider.weigh(*asked)).max())
    print(f"largest difference between the graph and its source: {difference:.1e} log-odds")
    if difference > _MAX_DIFFERENCE:
        (folder / "spec.json").unlink()
        raise ExportError(
            f"{folder}: the graph differs from what was fitted by {difference} log-odds; nothing is to be used"
        )
