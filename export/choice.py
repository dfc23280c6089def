"""Which variant of a graph is written: every one is measured, those below a floor are refused, one is taken."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from export import parity
from export.arguments import folder_name, positive
from export.errors import ExportError
from export.graph import FOR_GPUS, STORED, Variants
from export.parity import Feed, Item, Parity, Reference

FASTER_BY = 1.5
"""A variant that computes in another way, farther from the source, has to earn its place by this factor."""


@dataclass(frozen=True, slots=True)
class Floors:
    """What a variant must keep to be written."""

    min_cosine: float
    min_neighbours: float
    max_batch_difference: float
    max_bytes: int

    def faults(self, result: Parity) -> list[str]:
        """Every one of them, in words; empty for a variant that is good enough."""
        faults = []
        if result.bytes > self.max_bytes:
            faults.append(f"{result.bytes} bytes, --max-bytes is {self.max_bytes}")
        # Written so that a NaN is a fault.
        if not result.cosine_mean >= self.min_cosine:
            faults.append(f"mean cosine with the source {result.cosine_mean:.5f}, --min-cosine is {self.min_cosine}")
        if not result.neighbours_top10 >= self.min_neighbours:
            share = f"{result.neighbours_top10:.3f} of the ten nearest are the source's"
            faults.append(f"{share}, --min-neighbours is {self.min_neighbours}")
        if not result.batch_difference <= self.max_batch_difference:
            limit = f"--max-batch-difference is {self.max_batch_difference}"
            faults.append(f"a row differs by {result.batch_difference:.1e} with its batch, {limit}")
        return faults


@dataclass(frozen=True, slots=True)
class Chosen:
    """The variant to write, and what was measured of all."""

    variant: str
    model: bytes
    measured: Mapping[str, Parity]

    def as_json(self) -> dict[str, object]:
        """The part of a spec that says how good the model is."""
        return {
            "variant": self.variant,
            "parity": self.measured[self.variant].as_json(),
            "compared": {name: result.as_json() for name, result in self.measured.items()},
            "environment": parity.environment(),
        }


def add_arguments(parser: argparse.ArgumentParser, variants: Variants) -> None:
    """What every exporter is asked: a name, a place, and the floors."""
    parser.add_argument("--name", type=folder_name, required=True, help="name of the encoder and of its folder")
    parser.add_argument("--out", type=Path, default=Path("models/onnx"), help="folder that the encoder's folder is in")
    parser.add_argument(
        "--variant",
        choices=["auto", *variants],
        default="auto",
        help="auto: the closest to the source that fits --max-bytes"
        + "".join(f"; {name} is for GPUs and has to be asked for" for name in variants if name in FOR_GPUS),
    )
    parser.add_argument("--max-bytes", type=positive, default=25_000_000)
    parser.add_argument("--min-cosine", type=float, default=0.99, help="floor of the mean cosine with the source")
    parser.add_argument("--min-neighbours", type=float, default=0.9, help="floor of the agreement of the ten nearest")
    parser.add_argument("--max-batch-difference", type=float, default=1e-4, help="of a row alone and in a batch")


def best(
    graph: onnx.ModelProto,
    variants: Variants,
    feed: Feed[Item],
    reference: Reference[Item],
    arguments: argparse.Namespace,
) -> Chosen:
    """Make and measure every variant of a float32 graph, take one. Raises ExportError when none is good enough."""
    models: dict[str, bytes] = {}
    measured: dict[str, Parity] = {}
    failed: dict[str, str] = {}
    for name, shrink in variants.items():
        models[name] = shrink(graph).SerializeToString(deterministic=True)
        try:
            measured[name] = parity.measure(models[name], feed, reference)
        except ExportError as error:
            failed[name] = str(error)
            continue
        print(f"{name}: {json.dumps(measured[name].as_json())}")
    floors = Floors(arguments.min_cosine, arguments.min_neighbours, arguments.max_batch_difference, arguments.max_bytes)
    chosen = choose(measured, failed, arguments.variant, floors)
    print(f"chosen: {chosen}")
    return Chosen(chosen, models[chosen], measured)


def choose(measured: Mapping[str, Parity], failed: Mapping[str, str], wanted: str, floors: Floors) -> str:
    """The closest variant that fits, or one that computes faster where it is worth it.

    `measured` begins with the closest; `failed` says of others why they could not be measured. Raises ExportError, with
    every reason, where none is good enough.
    """
    every = {name: floors.faults(result) for name, result in measured.items()} | {n: [why] for n, why in failed.items()}
    asked = {
        name: faults for name, faults in every.items() if wanted == name or (wanted == "auto" and name not in FOR_GPUS)
    }
    good = [name for name, faults in asked.items() if not faults]
    if not good:
        reasons = [f"  {name}: {'; '.join(faults)}" for name, faults in asked.items()]
        raise ExportError("no variant is good enough, nothing was written:\n" + "\n".join(reasons))
    best = good[0]
    for name in good[1:]:
        # Those that only store weights otherwise compute the same: a difference in speed would be chance.
        if name not in STORED and measured[name].per_second_1_thread >= FASTER_BY * measured[best].per_second_1_thread:
            best = name
    return best
