"""What must hold after a run, beside what happens when nothing is broken. Nothing is allowed for: all is compared byte by byte.

Encoders are held to what one encoder makes of the same input topics. Their interleaving is not: two encoders may put the
rows of two input partitions into `vectors` in any order, and a later order may rightly give other clusters. So matchers
are held to one matcher that reads the very same `vectors`, from the beginning and left alone, into topics, keys and
indexes of its own.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import orjson

from consumer.evaluation import EventView
from tests.chaos.outcome import Decided, Encoded, Row, Told

Check = Callable[[Decided, Decided], list[str]]
_SHOWN = 5


def compare(
    rows: Encoded, expected: Encoded, run: Decided, calm: Decided, *, exactly_once: bool
) -> dict[str, list[str]]:
    """What is wrong, by promise; nothing where it holds."""
    once = ", each told once" if exactly_once else ", repeats aside"
    found = {
        "every input message is in `vectors`, in its order": _vectors(rows, expected),
        "every input message that cannot be read is a dead letter, and no other": _letters(rows, expected),
    }
    checks: dict[str, Check] = {
        "the same events, byte by byte": _events,
        f"versions of a cluster follow each other{once}": _told_once if exactly_once else _no_gaps,
        f"the same possible pairs{once}": _possible_once if exactly_once else _possible,
        "the same clusters under the same ids": _clusters,
        "`duplicate-clusters` = events": _states,
        "Redis = events": _assignments,
        "Redis as when left alone, nothing owed": _redis,
        "index = Redis, and as when left alone": _index,
    }
    found |= {name: check(run, calm) for name, check in checks.items()}
    return {name: wrong[:_SHOWN] for name, wrong in found.items()}


def _vectors(made: Encoded, expected: Encoded) -> list[str]:
    """What matchers add, the ends of words and words said again, repeats or follows rows of the encoders."""
    ours, theirs = _first_rows(made.rows), _first_rows(expected.rows)
    wrong = [
        f"of {source[0]}/{source[1]} in partition {source[2]}: {_difference(ours[source], rows)}"
        for source, rows in theirs.items()
        if ours[source] != rows
    ]
    return wrong + _sets(
        "rows", {r for rows in ours.values() for r in rows}, {r for rows in theirs.values() for r in rows}
    )


def _first_rows(rows: Sequence[Row]) -> dict[tuple[str, int, int], list[Row]]:
    """By input topic, its partition, and partition of `vectors`: rows in order, without repeats and ends of words."""
    found: dict[tuple[str, int, int], dict[Hashable, Row]] = defaultdict(dict)
    for row in rows:
        if row.value is not None or not row.key.startswith(_WORD):
            found[row.source[0], row.source[1], row.partition].setdefault(row.version, row)
    return defaultdict(list, {source: list(content.values()) for source, content in found.items()})


_WORD = b"\xff"
"""How keys of words begin in `vectors`."""


def _letters(made: Encoded, expected: Encoded) -> list[str]:
    return _sets("dead letters", set(made.letters), set(expected.letters))


def _events(run: Decided, calm: Decided) -> list[str]:
    ours, theirs = _by_id(run), _by_id(calm)
    wrong = [f"{one.id} came with two contents" for one in run.events if one.value != ours[one.id]]
    wrong += [f"{event} differs" for event in sorted(ours.keys() & theirs.keys()) if ours[event] != theirs[event]]
    return wrong + _sets("events", ours.keys(), theirs.keys())


def _by_id(one: Decided) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for event in one.events:
        found.setdefault(event.id, event.value)
    return found


def _stories(events: Sequence[Told]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for event in events:
        found[event.cluster_id].append(event.version)
    return found


def _told_once(run: Decided, _: Decided) -> list[str]:
    return [f"{cid}: {vs}" for cid, vs in _stories(run.events).items() if vs != list(range(1, len(vs) + 1))]


def _no_gaps(run: Decided, _: Decided) -> list[str]:
    wrong = []
    for cid, versions in _stories(run.events).items():
        first = list(dict.fromkeys(versions))
        if first != list(range(1, len(first) + 1)):
            wrong.append(f"{cid}: {versions}")
    return wrong


def _possible(run: Decided, calm: Decided) -> list[str]:
    ours, theirs = _pairs(run), _pairs(calm)
    wrong = [f"{key} differs" for key in sorted(ours.keys() & theirs.keys()) if set(ours[key]) != set(theirs[key])]
    return wrong + _sets("pairs", ours.keys(), theirs.keys())


def _possible_once(run: Decided, calm: Decided) -> list[str]:
    ours, theirs = _pairs(run), _pairs(calm)
    wrong = [
        f"{key}: told {len(ours[key])} times, not {len(theirs[key])}, or not the same"
        for key in sorted(ours.keys() & theirs.keys())
        if ours[key] != theirs[key]
    ]
    return wrong + _sets("pairs", ours.keys(), theirs.keys())


def _pairs(one: Decided) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = defaultdict(list)
    for key, value in one.possible:
        found[key].append(value)
    return found


def _view(one: Decided) -> EventView:
    view = EventView()
    for event in one.events:
        view.apply(orjson.loads(event.value))
    return view


def _clusters(run: Decided, calm: Decided) -> list[str]:
    return _maps("cluster", _view(run).clusters, _view(calm).clusters)


def _states(run: Decided, _: Decided) -> list[str]:
    live = {cid: set(state["members"]) for cid, state in run.states.items() if state is not None and state["size"]}
    return _maps("cluster", live, _view(run).clusters)


def _assignments(run: Decided, _: Decided) -> list[str]:
    return _maps("record", run.assignments, _view(run).assignments)


def _redis(run: Decided, calm: Decided) -> list[str]:
    owed = [f"{name} is not empty" for name in run.redis if name.endswith((":outbox", ":redo"))]
    return owed + _maps("key", run.redis, calm.redis)


def _index(run: Decided, calm: Decided) -> list[str]:
    wrong = []
    for scope, records in run.records.items():
        size, rows = run.indexes.get(scope, (0, {}))
        if size != len(records) or rows.keys() != set(records):
            wrong.append(f"{scope}: the index has {size} records, {len(rows)} of the {len(records)} in Redis")
        wrong += _maps(f"{scope}: vector", rows, calm.indexes.get(scope, (0, {}))[1])
    return wrong


def _sets(what: str, ours: AbstractSet[Hashable], theirs: AbstractSet[Hashable]) -> list[str]:
    found = []
    if missing := theirs - ours:
        found.append(f"{len(missing)} {what} missing, such as {str(min(missing, key=str))[:200]}")
    if strange := ours - theirs:
        found.append(f"{len(strange)} {what} that should not be, such as {str(min(strange, key=str))[:200]}")
    return found


def _maps(what: str, ours: Mapping[str, object], theirs: Mapping[str, object]) -> list[str]:
    found = [f"{what} {key} missing" for key in sorted(theirs.keys() - ours.keys())]
    found += [f"{what} {key} should not be" for key in sorted(ours.keys() - theirs.keys())]
    return found + [f"{what} {key} differs" for key in sorted(ours.keys() & theirs.keys()) if ours[key] != theirs[key]]


def _difference(ours: Sequence[object], theirs: Sequence[object]) -> str:
    place = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    return f"{len(ours)} rows beside {len(theirs)}, other from row {place} on"
