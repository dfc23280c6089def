"""A run of the fuzzer: so many refused inputs, drawn from a seed; what was refused and why, and every defect."""

import base64
import random
import re
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from consumer.records import Message
from tests.fuzz.targets import MARK, Target, targets

MAX_DEFECTS = 20
_NUMBERS = re.compile(r"[0-9]+")
_PLACES = re.compile(r"line [0-9]+, column [0-9]+|character [0-9]+")


@dataclass(slots=True)
class Tally:
    """What became of the inputs of a target."""

    refused: int = 0
    read: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    """Without their numbers."""
    defects: list[str] = field(default_factory=list)


def run(inputs: int, seed: int, folder: Path, only: str | None = None) -> dict[str, Tally]:
    """Until `inputs` bad ones were refused, over all targets by their shares, or MAX_DEFECTS were found in one."""
    chosen = {name: target for name, target in targets(folder).items() if only in (None, name)}
    whole = sum(target.share for target in chosen.values())
    return {
        name: _one(target, round(inputs * target.share / whole), random.Random(f"{seed} {name}"))
        for name, target in chosen.items()
    }


def _one(target: Target, inputs: int, chance: random.Random) -> Tally:
    tally = Tally()
    started = time.perf_counter()
    while tally.refused < inputs and len(tally.defects) < MAX_DEFECTS:
        message = target.draw(chance)
        try:
            reason = target.read(message)
        except Exception:  # noqa: BLE001  # whatever it is, that is what is looked for
            tally.defects.append(f"{_shown(message)}\n{traceback.format_exc(limit=-3)}")
            continue
        if reason is None:
            tally.read += 1
            continue
        tally.refused += 1
        if fault := _fault(reason):
            tally.defects.append(f"{_shown(message)}\n{fault}: {reason}")
        tally.reasons[_NUMBERS.sub("#", _PLACES.sub("#", reason.splitlines()[-1]))] += 1
    tally.seconds = time.perf_counter() - started
    return tally


def _fault(reason: str) -> str:
    """What is wrong with a reason: nothing said, or something of the input said."""
    if not reason.strip():
        return "no reason"
    return "the reason quotes the input" if MARK.lower() in reason.lower() else ""


def _shown(message: Message) -> str:
    parts = [message.key, message.value, *message.headers.values()]
    told = (b"" if part is None else base64.b64encode(part[:3000]) for part in parts)
    return " ".join(part.decode() or "-" for part in told) + f" at {message.timestamp_ms}"
