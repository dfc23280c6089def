"""The whole comparison: the parts by themselves and the stream that is made of them, in indexes of all sizes by turns."""

import secrets
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from consumer.adapters.projection import ROWS_PER_AXIS
from consumer.errors import SettingsError
from consumer.profile import Profile, load_profile
from consumer.settings import load_settings
from consumer.wiring import build_encoders, require_brokers
from loadtest.ceiling.clock import BATCH, Cost, median, medians
from loadtest.ceiling.deployment import Deployment, EncodeRounds, MatchRounds
from loadtest.ceiling.fill import Fill
from loadtest.ceiling.site import own_settings, site
from loadtest.environment import environment


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. What else a machine does comes and goes: sizes, parts and stream take turns, and medians count."""

    sample: int
    """Records of a round."""
    rounds: int


@dataclass(frozen=True, slots=True)
class Size:
    """What a record costs with so many in the index."""

    records: int
    encode_parts: Mapping[str, Cost]
    match_parts: Mapping[str, Cost]
    encode_stream: Cost
    match_stream: Cost
    match_steps: Mapping[str, float]
    """What the steps of the match stage took in the stream by the wall, in microseconds, as its own metrics say."""
    whole_stream: Cost


@dataclass(frozen=True, slots=True)
class Ceiling:
    """One run."""

    plan: Plan
    sizes: Sequence[Size]
    environment: Mapping[str, Any]


def measure(
    config: Path | None, profile: str | None, sizes: Sequence[int], plan: Plan, progress: Callable[[str], None]
) -> Ceiling:
    """On the cluster and store of the settings, under names of its own, which stay there. Raises DedupError."""
    overrides: dict[str, object] = {} if profile is None else {"profile": profile}
    settings = load_settings(config, overrides)
    require_brokers(settings)
    least = max(settings.index.exact_below, ROWS_PER_AXIS * settings.index.dims)
    if least >= min(sizes) + BATCH:
        raise SettingsError(
            f"--records {min(sizes)}: up to {least} (index.exact_below, or {ROWS_PER_AXIS} times index.dims) hnswlib is not "
            "used; measure more, or lower that"
        )
    base = load_profile(settings.profile)
    with tempfile.TemporaryDirectory(prefix="dedup-ceiling-") as name:
        deployments = _deployments(config, base, sizes, Path(name), progress)
        encoding = [EncodeRounds(deployment, plan.sample) for deployment in deployments]
        _by_turns("encode", encoding, plan.rounds, progress)
        matching = [MatchRounds(deployment, plan.sample) for deployment in deployments]
        _by_turns("match", matching, plan.rounds, progress)
        progress("both stages at once")
        found = [_size(*one) for one in zip(deployments, encoding, matching, strict=True)]
        return Ceiling(plan, found, environment(settings, base))


def _by_turns(
    stage: str, places: Sequence[EncodeRounds | MatchRounds], rounds: int, progress: Callable[[str], None]
) -> None:
    for number in range(rounds):
        progress(f"the {stage} stage: round {number + 1} of {rounds}")
        for place in places:
            place.turn()


def _size(deployment: Deployment, encoding: EncodeRounds, matching: MatchRounds) -> Size:
    steps = matching.steps
    return Size(
        records=deployment.size,
        encode_parts=medians(encoding.parts),
        match_parts=medians(matching.parts),
        encode_stream=median(encoding.streams),
        match_stream=median(matching.streams),
        match_steps={name: statistics.median(one.get(name, 0.0) for one in steps) for name in steps[0]},
        whole_stream=matching.both(),
    )


def _deployments(
    config: Path | None, base: Profile, sizes: Sequence[int], folder: Path, progress: Callable[[str], None]
) -> list[Deployment]:
    """One for each size, smallest first, of one index that grows."""
    run = f"ceiling-{secrets.token_hex(4)}"
    first = own_settings(config, base, run, folder)
    encoders = build_encoders(first, base)
    fill, seeds = Fill(first, encoders, progress), count()
    made = []
    for size in sorted(sizes):
        own = folder / str(size)
        own.mkdir()
        # one batch more, so that an index at the limit of exact search is past it
        fill.grow(size + BATCH)
        place = site(own_settings(config, base, f"{run}-{size}", own), encoders, own)
        made.append(Deployment.of(place, size, fill, seeds))
    return made
