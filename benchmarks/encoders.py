"""Texts and pictures a second through the real encoders, by model, provider, threads and batch size.

    python -m benchmarks.encoders [--models all-minilm-l6-v2,subword] [--batch 1,8,32,128] [--threads 1,2]
                                  [--providers CPUExecutionProvider] [--photos DIR] [--stream FILE] [--out FILE]

Every encoder is measured in turn, round after round, so that what else the machine does touches all alike; the median
of the rounds is given. Where a CUDA device works, its vectors are compared with the processor's. `--stream` is a JSONL file with
`name` and `city`, in the order they came: with it the cache of the text encoders is measured too. Prints Markdown, and
writes it to `--out`.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks import given
from benchmarks.rows import Rows, people, pictures, recorded, titles
from consumer.cores import available_cores
from consumer.errors import DedupError
from consumer.ports import Encoder, Model
from consumer.profile import Profile
from consumer.settings import load_settings
from consumer.wiring import build_encoders, models_directory

REFERENCE = "all-minilm-l6-v2"
"""What the others are given as a multiple of."""
CPU = "CPUExecutionProvider"
_CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
_CACHE_ENTRIES = 50_000
_FUSION = {"duplicate": 0.8, "possible": 0.7, "slope": 20, "min_evidence": 0}


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a table."""

    model: str
    provider: str
    threads: int


Rates = dict[tuple[Case, str, int], list[float]]
"""Rows a second of each round, by case, workload and batch size."""


def encoder(case: Case, kind: str, cache_entries: int = 0) -> Encoder:
    """As the service would build it. Raises DedupError where the provider does not work."""
    field = {"name": {"type": "text"}, "city": {"type": "text"}} if kind == "text" else {"picture": {"type": "image"}}
    extra = {} if kind == "text" else {"floor": 0.7, "reach": 0.5}
    content = {
        "name": "benchmark",
        "input": "benchmark",
        "fields": field,
        "modalities": {"it": {"encoder": kind, "model": case.model, "fields": list(field), "weight": 1, **extra}},
        "fusion": _FUSION,
        "quality": {},
    }
    chosen = {
        "models.providers": [case.provider],
        "models.threads": case.threads,
        "models.cache_entries": cache_entries,
        "privacy.rotation_key": None,
    }
    return build_encoders(load_settings(None, chosen), Profile.model_validate(content)).encoders["it"]


def rate(made: Encoder, rows: Rows, batch: int, arguments: argparse.Namespace) -> float:
    """Rows a second, over whole batches, for at least so long."""
    clock = _CLOCKS[arguments.clock]
    began, done = clock(), 0
    while (passed := clock() - began) < arguments.seconds:
        start = done % max(1, len(rows) - batch + 1)
        made.encode(rows[start : start + batch])
        done += batch
    return done / passed


def measured(cases: Mapping[Case, Encoder], workloads: Mapping[str, Rows], arguments: argparse.Namespace) -> Rates:
    """Each case in each round."""
    rates: Rates = {}
    for made in cases.values():
        if isinstance(made, Model):
            made.warm_up()
    for _ in range(arguments.rounds):
        for name, rows in workloads.items():
            for batch in arguments.batch:
                for case, made in cases.items():
                    found = rate(made, rows, batch, arguments)
                    rates.setdefault((case, name, batch), []).append(found)
    return rates


def table(rates: Rates, unit: str, batches: Sequence[int]) -> Iterator[str]:
    """Rows a second, and in brackets the multiple of the reference where it was measured alike."""
    for workload in dict.fromkeys(name for _, name, _ in rates):
        yield f"\n### {workload}: {unit} a second, by batch size\n"
        yield f"| model | provider | threads | {' | '.join(map(str, batches))} |"
        yield f"|---|---|---|{'---:|' * len(batches)}"
        for case in dict.fromkeys(case for case, name, _ in rates if name == workload):
            cells = [_cell(rates, case, workload, batch) for batch in batches]
            yield f"| {case.model} | {_short(case.provider)} | {case.threads} | {' | '.join(cells)} |"


def _cell(rates: Rates, case: Case, workload: str, batch: int) -> str:
    found = rates[case, workload, batch]
    reference = rates.get((Case(REFERENCE, case.provider, case.threads), workload, batch))
    shown = f"{statistics.median(found):,.0f}"
    if reference is None or case.model == REFERENCE:
        return shown
    ratio = statistics.median(a / b for a, b in zip(found, reference, strict=True))
    return f"{shown} ({ratio:.1f}x)"


def parity(cases: Mapping[Case, Encoder], workloads: Mapping[str, Rows]) -> Iterator[str]:
    """How far the vectors of other providers are from the processor's."""
    for case, made in cases.items():
        beside = cases.get(Case(case.model, CPU, case.threads))
        if case.provider == CPU or beside is None:
            continue
        for name, rows in workloads.items():
            one, other = made.encode(rows[:256]).vectors, beside.encode(rows[:256]).vectors
            cosine, apart = float(np.sum(one * other, axis=1).min()), float(np.abs(one - other).max())
            yield f"| {case.model} | {name} | {_short(case.provider)} | {cosine:.6f} | {apart:.1e} |"


def cache(models: Sequence[str], arguments: argparse.Namespace) -> Iterator[str]:
    """The stream from its beginning, once without a cache and once with an empty one."""
    rows, threads = recorded(arguments.stream), arguments.threads[0]
    yield "\n## Cache of repeated texts\n"
    yield f"A recorded stream of {len(rows):,} rows, {_repeated(rows):.0%} of which were there before, once through in batches of"
    yield f"256 on {threads} thread(s); the cache of {_CACHE_ENTRIES:,} entries is empty at first.\n"
    yield "| model | texts a second without | with | ratio |\n|---|---:|---:|---:|"
    for model in models:
        without, kept = (
            _through(encoder(Case(model, CPU, threads), "text", entries), rows, _CLOCKS[arguments.clock])
            for entries in (0, _CACHE_ENTRIES)
        )
        yield f"| {model} | {without:,.0f} | {kept:,.0f} | {kept / without:.2f}x |"


def _repeated(rows: Rows) -> float:
    return 1 - len({tuple(row.items()) for row in rows}) / len(rows)


def _through(made: Encoder, rows: Rows, clock: Callable[[], float]) -> float:
    """Rows a second, once through."""
    began = clock()
    for start in range(0, len(rows), 256):
        made.encode(rows[start : start + 256])
    return len(rows) / (clock() - began)


def opened(arguments: argparse.Namespace, kind: str, models: Sequence[str]) -> tuple[dict[Case, Encoder], list[str]]:
    """An encoder a case, and why there is none for some."""
    made, faults = {}, []
    for model in models:
        for provider in arguments.providers:
            # a GPU's work is not divided among the processor's threads
            for threads in arguments.threads if provider == CPU else arguments.threads[:1]:
                case = Case(model, provider, threads)
                try:
                    made[case] = encoder(case, kind)
                except DedupError as error:
                    faults.append(str(error).split("; add")[0].split("no provider can run it ")[-1])
    return made, list(dict.fromkeys(faults))


def environment(
    arguments: argparse.Namespace, ran: set[str], faults: Sequence[str], load: tuple[float, ...]
) -> Iterator[str]:
    """What the figures were taken on, and with."""
    yield "# Benchmarks of the encoders\n"
    yield "Made by `python -m benchmarks.encoders`; its docstring says how. Figures of one table compare with each other;"
    yield "those of two runs do not.\n"
    yield f"- {datetime.now(UTC):%Y-%m-%d}, seed {arguments.seed}, median of {arguments.rounds} rounds of {arguments.seconds} s"
    yield f"- seconds are of the {'wall clock' if arguments.clock == 'wall' else 'processor, summed over threads'}"
    yield f"- {_processor()}, {available_cores()} cores for this process, {platform.system()} {platform.machine()}"
    yield f"- load average before and after: {load[0]:.1f}, {os.getloadavg()[0]:.1f}; above the cores, others worked too"
    yield f"- Python {platform.python_version()}, onnxruntime {onnxruntime.__version__}, numpy {np.__version__}"
    if ran <= {CPU}:
        yield "- no GPU was at hand: nothing here was run on one"
    for fault in faults:
        yield f"- not measured: {fault.strip('()')}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown processor")


def _short(provider: str) -> str:
    return provider.removesuffix("ExecutionProvider")


def report(arguments: argparse.Namespace) -> Iterator[str]:
    """The page, line by line."""
    load = os.getloadavg()
    sections: list[str] = []
    faults: list[str] = []
    ran: set[str] = set()
    of_text = {"Names and cities": people(2000, arguments.seed), "Titles": titles(2000, arguments.seed)}
    of_images = {"Pictures (JPEG to vector)": pictures(512, arguments.seed, arguments.photos)}
    for kind, unit, models, workloads in (
        ("text", "texts", [m for m in arguments.models if _kind(m) != "image"], of_text),
        ("image", "pictures", [m for m in arguments.models if _kind(m) == "image"], of_images),
    ):
        cases, missing = opened(arguments, kind, models)
        faults += missing
        ran |= {case.provider for case in cases}
        sections += table(measured(cases, workloads, arguments), unit, arguments.batch)
        if compared := list(parity(cases, workloads)):
            sections += [
                "\n### Beside the processor's vectors\n",
                "| model | rows | provider | least cosine | farthest component |",
            ]
            sections += ["|---|---|---|---:|---:|", *compared]
    if arguments.stream is not None:
        texts = [m for m in arguments.models if _kind(m) != "image"]
        sections += cache(texts, arguments)
    yield from environment(arguments, ran, list(dict.fromkeys(faults)), load)
    yield from sections


def _kind(model: str) -> str:

    path = models_directory(load_settings()) / model / "spec.json"
    if not path.is_file():
        raise SystemExit(f"--models: {path} is not there")
    return str(json.loads(path.read_bytes())["modality"])


def main() -> None:
    shipped = sorted(path.parent.name for path in models_directory(load_settings()).glob("*/spec.json"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=lambda text: text.split(","), default=shipped)
    parser.add_argument("--batch", type=lambda text: [int(n) for n in text.split(",")], default=[1, 8, 32, 128])
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--providers", type=lambda text: text.split(","), default=load_settings().models.providers)
    parser.add_argument("--photos", type=Path, help="a folder of JPEG files instead of drawn ones")
    parser.add_argument("--stream", type=Path, help="JSONL with name and city, to measure the cache on")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one measurement")
    parser.add_argument("--rounds", type=given.count, default=5)
    parser.add_argument(
        "--clock", choices=_CLOCKS, default="wall", help="processor: of all threads; for a machine that others use too"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    try:
        page = "\n".join(report(arguments)) + "\n"
    except DedupError as error:
        raise SystemExit(str(error)) from error
    print(page)
    if arguments.out is not None:
        arguments.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
