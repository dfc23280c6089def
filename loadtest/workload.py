"""What a load test sends: a YAML file, checked whole, with every fault told at once."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from consumer.errors import SettingsError
from consumer.strict import NOT_YAML, Strict, describe_faults, read_yaml

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Arrivals = Literal["constant", "poisson"]


class Phase(Strict):
    """So many messages a second, for so long."""

    rate: Positive
    seconds: Positive


class Operating(Strict):
    """One more step behind a sweep: what to expect where there is room to spare."""

    share: Annotated[float, Field(gt=0, lt=1)]
    """Of the highest rate that was kept up."""
    seconds: Positive = 120
    """Of a short step, one pause decides the p99."""


class Sweep(Strict):
    """Rates from `start`, each `factor` times the one before, until one is too much or `steps` are done."""

    start: Positive
    factor: Annotated[float, Field(gt=1, le=10)] = 1.25
    steps: Annotated[int, Field(ge=1, le=100)] = 20
    seconds: Positive = 30
    operating: Operating | None = None


class Mix(Strict):
    """Shares of what is sent; they sum to 1. `image` is for profiles of listings."""

    new: Share = 0
    duplicate: Share = 0
    update: Share = 0
    erase: Share = 0
    hub: Share = 0
    """Strangers under one placeholder name: what a form's default does to a stream."""
    poison: Share = 0
    """What cannot be read: it ends in dead letters."""
    image: Share = 0
    """New and duplicate listings with a picture in the message."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        total = sum(dict(self).values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares sum to {total:g}, not to 1")
        if not self.new:
            raise ValueError("new: must be above 0, for the others are made from what came before")
        return self


class Workload(Strict):
    """One load test. Either `phases`, sent one after the other and measured as one, or a `sweep`."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")]
    about: str
    mix: Mix
    phases: Annotated[Sequence[Phase], Field(min_length=1)] | None = None
    sweep: Sweep | None = None
    arrivals: Arrivals = "constant"
    """`poisson`: at random moments with that rate in the mean, as people come."""
    warm_up_seconds: Annotated[float, Field(ge=0)] = 5
    """Cut from the front of every measurement."""
    fill: Annotated[int, Field(ge=0)] = 0
    """Records sent first, as fast as they go, and not measured: the index is not empty then."""
    drain_seconds: Positive = 120
    """Longest wait for the service to catch up after the last message."""
    scopes: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Values of the profile's `scope` field."""
    generators: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that send."""
    seed: int | None = None
    """None: drawn, and told in the report, so that a second run on the same cluster brings other people."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.phases is None) == (self.sweep is None):
            raise ValueError("give either phases or a sweep")
        lengths = [sum(phase.seconds for phase in phases) for phases in self.steps()[:1]]
        if self.sweep is not None and self.sweep.operating is not None:
            lengths.append(self.sweep.operating.seconds)
        shortest = min(lengths, default=0.0)
        if shortest <= self.warm_up_seconds:
            raise ValueError(f"warm_up_seconds: {self.warm_up_seconds:g} of {shortest:g} s leaves nothing to measure")
        return self

    def steps(self) -> list[Sequence[Phase]]:
        """What is measured, one after the other, with the service idle in between."""
        if self.sweep is None:
            return [self.phases or ()]
        sweep = self.sweep
        rates = (round(sweep.start * sweep.factor**n, 1) for n in range(sweep.steps))
        return [[Phase(rate=rate, seconds=sweep.seconds)] for rate in rates]


def load_workload(name_or_path: str, rate: float | None = None, seconds: float | None = None) -> Workload:
    """A bundled workload by name, or any YAML file. `rate` and `seconds` replace those of its only phase or its sweep.

    Raises SettingsError listing every fault.
    """
    what = f"workload {name_or_path}"
    try:
        content = read_yaml(_text(name_or_path))
    except NOT_YAML as error:
        raise SettingsError(f"{what}: not YAML: {error}") from error
    try:
        workload = Workload.model_validate(content)
        return workload if rate is seconds is None else _changed(workload, rate, seconds)
    except ValidationError as error:
        raise SettingsError(describe_faults(what, error, Workload)) from None


def bundled() -> list[str]:
    """Names of the workloads that come with the package."""
    files = resources.files("loadtest.workloads").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def _text(name_or_path: str) -> str:
    if name_or_path in bundled():
        return resources.files("loadtest.workloads").joinpath(f"{name_or_path}.yaml").read_text(encoding="utf-8")
    try:
        return Path(name_or_path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"workload {name_or_path!r} is neither bundled ({', '.join(bundled())}) nor a readable file: {error}"
        ) from error


def _changed(workload: Workload, rate: float | None, seconds: float | None) -> Workload:
    content = workload.model_dump()
    if workload.sweep is not None:
        changed: dict[str, object] = {"start": rate, "seconds": seconds}
        content["sweep"] |= {name: value for name, value in changed.items() if value is not None}
    elif workload.phases is not None and len(workload.phases) == 1:
        changed = {"rate": rate, "seconds": seconds}
        content["phases"][0] |= {name: value for name, value in changed.items() if value is not None}
    else:
        raise SettingsError(
            f"workload {workload.name} has several phases: --rate and --seconds do not say which; write a file of your own"
        )
    return Workload.model_validate(content)
