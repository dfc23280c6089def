"""Explanations as text for a person: lines to print, widest things last."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from consumer.explanation import ClusterExplanation, FilesExplanation, PairExplanation, RecordExplanation, Standing
from consumer.links import Branch, Link, Word

RULES: Final[Mapping[str, str]] = {
    "threshold": "their evidence makes them duplicates",
    "through_others": "records between them hold them together, see the links below",
    "possible": "not probable enough to be merged; probable enough to ask a person",
    "min_evidence": "alike, but too little is there in both to merge without a person (fusion.min_evidence)",
    "size_cap": "duplicates, but their cluster would be too large (matching.max_cluster_size)",
    "crowd": "duplicates, but their cluster would be too large; a person is asked by a better pair of the two",
    "quorum": "duplicates, but too few of the other pairs between their clusters are (matching.quorum)",
    "weak_bridge": "duplicates, but the records at the centre of their clusters are nothing alike",
    "ruled_apart": "duplicates, but a person said that two records of their clusters differ",
    "ambiguous": "duplicates, but one of them could as well join a cluster that a person keeps apart from the other",
    "person_same": "a person said that they are the same",
    "person_different": "a person said that they differ",
    "overruled": "a person's word on the two is outweighed by newer words on other pairs of their clusters",
    "different": "not alike enough to ask a person",
    "nothing_shared": "nothing is there in both that could be compared",
    "other_scope": "their scopes differ, and records of different scopes are never compared",
    "absent": "one of them is not here: it never came, or was erased; nothing is decided of it",
    "no_evidence": "nothing is stored of the two: they were judged different, or neither was among the other's candidates; "
    "`dedup explain --files` compares them now",
}
"""What decided, in words; held evidence is named by its reason."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS = -62_135_596_800_000
"""The year 1 begins, the first that can be written."""
_SHOWN = 10
"""Links to records outside that are printed; JSON has them all."""


def printable(line: str) -> str:
    """A line that a terminal shows and does not obey: an id may hold any character."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def text_of(
    explained: PairExplanation | RecordExplanation | ClusterExplanation | FilesExplanation,
) -> Iterator[str]:
    """Any explanation."""
    if isinstance(explained, PairExplanation):
        lines = pair_text(explained)
    elif isinstance(explained, FilesExplanation):
        lines = files_text(explained)
    elif isinstance(explained, RecordExplanation):
        lines = record_text(explained)
    else:
        lines = cluster_text(explained)
    return map(printable, lines)


def pair_text(explained: PairExplanation) -> Iterator[str]:
    """A pair."""
    left, right = explained.left, explained.right
    place = f"{explained.place.profile}/{explained.place.scope}"
    if explained.together:
        yield f"{left.id} and {right.id} are one: cluster {left.cluster} in {place}"
    else:
        yield f"{left.id} and {right.id} are apart in {place}"
    for standing in (left, right):
        yield f"  {_standing(standing)}"
    yield f"decided by `{explained.rule}`: {RULES[explained.rule]}"
    yield from _words(explained.words)
    if explained.link is not None and explained.link.probability is not None:
        yield ""
        yield from evidence_text(explained.link)
    if explained.rule == "through_others":
        yield ""
        yield "the strongest links between them:"
        for link in explained.path:
            yield f"  {link.a} and {link.b}  {_line(link)}"


def record_text(explained: RecordExplanation) -> Iterator[str]:
    """A record that stands alone."""
    record = explained.record
    yield f"{_standing(record)} in {explained.place.profile}/{explained.place.scope}"
    yield from _outside(explained.links, explained.others, {record.id})


def cluster_text(explained: ClusterExplanation) -> Iterator[str]:
    """A cluster, or what became of it."""
    place = f"{explained.place.profile}/{explained.place.scope}"
    for old, new in pairwise([*explained.forwarded, explained.id]):
        yield f"{old} was merged into {new}"
    if not explained.members:
        yield f"{explained.id} in {place} ended with version {explained.version}; its records went different ways"
        return
    yield f"{explained.id} in {place}, version {explained.version}, {len(explained.members)} records"
    yield ""
    members = {member.id: member for member in explained.members}
    yield from _tree(explained.tree, members, explained.keep)
    yield ""
    yield _kept(explained)
    yield from _outside(explained.links, explained.others, set(members))


def files_text(explained: FilesExplanation) -> Iterator[str]:
    """Two records of files."""
    left, right = explained.left, explained.right
    yield f"{left.id} and {right.id}: {explained.outcome} by the profile {explained.profile}, if there were no others"
    yield f"decided by `{explained.rule}`: {RULES[explained.rule]}"
    if explained.link is not None:
        yield ""
        yield from evidence_text(explained.link)
    if explained.not_compared:
        yield ""
        yield f"not there in both, so not compared: {', '.join(explained.not_compared)}"
    yield ""
    yield f"quality: {left.id} {left.quality:.3f}, {right.id} {right.quality:.3f}; of the two, {explained.keep} would be kept"


def evidence_text(link: Link) -> Iterator[str]:
    """What was compared, and what each part of it adds; the parts sum to the logit of the probability."""
    names = [*link.contributions, *(name for name in link.similarities if name not in link.contributions)]
    width = max(map(len, ["sum", *names]))
    yield f"  {'':{width}}  similarity  log-odds"
    for name in names:
        cosine, share = link.similarities.get(name), link.contributions.get(name)
        shown = f"{cosine:10.2f}" if cosine is not None else " " * 10
        yield f"  {name:{width}}  {shown}" + (f"  {share:+8.2f}" if share is not None else "")
    yield f"  {'sum':{width}}  {'':10}  {link.log_odds or 0:+8.2f}  probability {link.probability:.4f}"


def _tree(branches: Sequence[Branch], members: Mapping[str, Standing], keep: str | None) -> Iterator[str]:
    for i, branch in enumerate(branches):
        rails = "".join("│  " if _goes_on(branches, i, depth) else "   " for depth in range(1, branch.depth))
        twig = ("├─ " if _goes_on(branches, i, branch.depth) else "└─ ") if branch.depth else ""
        member = members[branch.id]
        about = f"born {_day(member.born_ms)}, quality {member.quality:.3f}"
        why = f"  {_line(branch.link)}" if branch.link else ""
        kept = "  ← keep" if branch.id == keep else ""
        yield f"  {rails}{twig}{branch.id}  {about}{kept}{why}"


def _goes_on(branches: Sequence[Branch], i: int, depth: int) -> bool:
    """Whether another branch hangs at that depth below the same one."""
    for later in branches[i + 1 :]:
        if later.depth <= depth:
            return later.depth == depth
    return False


def _kept(explained: ClusterExplanation) -> str:
    others = [member for member in explained.members if member.id != explained.keep]
    (kept,) = (member for member in explained.members if member.id == explained.keep)
    best = max(others, key=lambda member: member.quality or 0.0)
    reasons = {
        "quality": f"the best quality, {kept.quality:.3f}; next is {best.id} with {best.quality:.3f}",
        "age": f"no other is of better quality, and of those as good ({kept.quality:.3f}) none is older",
        "closeness": f"nearer to the centre of the cluster than {best.id}, whose quality is {best.quality:.4f} "
        f"beside {kept.quality:.4f} (matching.exemplar_alpha)",
    }
    return f"keep {explained.keep}: {reasons[explained.kept_for or 'age']}"


def _outside(links: Sequence[Link], others: Mapping[str, str], inside: set[str]) -> Iterator[str]:
    if not links:
        return
    yield ""
    yield "linked, but apart:"
    for link in links[:_SHOWN]:
        other = link.b if link.a in inside else link.a
        own = link.other(other)
        where = f" of {others[other]}" if other in others else ""
        yield f"  {other}{where}  {_line(link)}" + (f"  (from {own})" if len(inside) > 1 else "")
    if len(links) > _SHOWN:
        yield f"  and {len(links) - _SHOWN} more: --json has them all"


def _line(link: Link) -> str:
    parts = []
    if link.probability is not None:
        shares = ", ".join(f"{name} {share:+.2f}" for name, share in link.contributions.items())
        parts.append(f"{link.probability:.2f} = {shares}")
        if link.held is not None:
            parts.append(f"held: {link.held}")
        elif not link.duplicate:
            parts.append("possible")
    if link.word is not None:
        parts.append(_word(link.word))
    return "; ".join(parts)


def _words(words: Sequence[Word]) -> Iterator[str]:
    for word in words:
        yield f"  {word.a} and {word.b}: {_word(word)}"


def _word(word: Word) -> str:
    return f"{word.by} said `{word.says}` on {_time(word.said_ms)}"


def _standing(record: Standing) -> str:
    if record.state == "erased":
        return f"{record.id}: erased not long ago"
    if record.state == "unknown":
        return f"{record.id}: not in the store"
    where = f"in {record.cluster}" if record.cluster else "stands alone"
    return f"{record.id}: {where}, born {_day(record.born_ms)}, quality {record.quality:.3f}"


def _day(milliseconds: int | None) -> str:
    return _time(milliseconds or 0)[:10]


def _time(milliseconds: int) -> str:
    since = timedelta(milliseconds=max(milliseconds, _FIRST_MS))
    return f"{(_EPOCH + since).replace(tzinfo=None).isoformat(' ', 'minutes')} UTC"
