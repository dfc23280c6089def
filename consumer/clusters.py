"""Pure decisions about clusters: a record and its matches, or what a person says, go in; changes come out.

Every change parts the records it touches anew, by the rule a batch would use (`consumer.partition`): its record's
cluster, the clusters of its duplicates and of those whom people's words name, and the clusters beside these across
duplicates that are held, as far as the budget of `Repair` goes. As long as everything linked by duplicates and words fits
the budget, the clusters are those of the batch, whatever the order in which records came. What does not fit, and lies beside
a record that changed its cluster, is put on a queue, and later rows take it up again, with what it is linked to and no more.
What is taken up again queues nothing: two neighbourhoods could otherwise undo each other for ever.

How clusters keep their identity is told in `consumer.identity`.
"""

from collections.abc import Callable, Iterable, Sequence

from consumer.evidence import EvidenceGraph, Pair
from consumer.identity import Keep, Register
from consumer.merging import CROWD, MergeRules
from consumer.minter import Minter
from consumer.move import Move
from consumer.partition import partition
from consumer.ports import Neighbourhood
from consumer.records import (
    Cause,
    ClusterChange,
    Evidence,
    Match,
    Member,
    OutboxEntry,
    Position,
    PossibleChange,
    RecordState,
    ScopeUpdate,
    Vector,
    Verdict,
)
from consumer.redo import RedoQueue, Repair
from consumer.rows import is_stale
from consumer.words import Words

Change = ClusterChange | PossibleChange
Read = Callable[[Sequence[str], Sequence[str]], Neighbourhood]
"""Record ids and cluster ids → what the store holds of them, with edges; as it was when the book was opened."""
_READ_AT_ONCE = 8
"""Records of what lies beside: each brings its cluster and all its edges, and the budget may end at any."""


class _Unused(dict[str, bool]):
    """Whether the store never knew a cluster id; it is asked where that was not told.

    No part of the book, for a ring of book and register would keep all that was read until the garbage collector comes.
    """

    def __init__(self, read: Read) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, cluster_id: str) -> bool:
        self[cluster_id] = cluster_id in self._read([], [cluster_id]).free
        return self[cluster_id]


class Book:
    """A working copy of a neighbourhood, changed row by row; `update` tells what to write.

    Feed it rows in stream order; many rows in one book or each in its own come to the same. `state` is what is likely to
    be needed, read beforehand: records whose edges are in it are known whole, of others it tells only that they exist. What
    is lacking is read when it is needed.
    """

    def __init__(
        self, state: Neighbourhood, mint: Minter, rules: MergeRules, keep: Keep, read: Read, repair: Repair
    ) -> None:
        self._mint = mint
        self._rules = rules
        self._read = read
        self._repair = repair
        self._before = Neighbourhood()
        self._records: dict[str, RecordState | None] = {}
        self._members: dict[str, Member] = {}
        self._whole: set[str] = set()
        self._unused = _Unused(read)
        self._erased: dict[str, Position] = {}
        self._evidence = EvidenceGraph()
        self._words = Words()
        self._register = Register(mint, keep, self._unused.__getitem__)
        self._redo = RedoQueue(state.redo)
        self._asked: dict[Pair, Evidence | None] = {}
        self._take_in(state)

    def __contains__(self, record_id: str) -> bool:
        return self._records.get(record_id) is not None or record_id in self._members

    def upsert(self, vector: Vector, matches: Sequence[Match], cause: Cause) -> list[Change]:
        """Add a record, or replace it, given everything it matches now."""
        known = [match for match in matches if match.duplicate or match.id in self]
        self._load([vector.id, *(match.id for match in known if match.duplicate)])
        before = self._drop_edges(vector.id)
        state = self._records.get(vector.id)
        # an update does not make a record younger
        born_ms = min(vector.born_ms, state.born_ms) if state else vector.born_ms
        self._records[vector.id] = RecordState(vector.source, born_ms, vector.quality)
        self._members[vector.id] = Member(born_ms, vector.quality)
        self._erased.pop(vector.id, None)
        edges = [self._evidence.link(vector.id, match) for match in known if match.id in self]
        for edge in edges:
            self._asked.setdefault((edge.a, edge.b), None)
        linked = [e.other(vector.id) for e in (*before, *edges) if e.match.duplicate]
        # most records are like no other, and parting one by itself comes to nothing
        alone = not linked and self._register.cluster_of(vector.id) is None and not self._words.of(vector.id)
        changes = [] if alone else self._part([vector.id, *linked], cause, record=vector.id)
        return [*changes, *self._end_row(cause)]

    def erase(self, record_id: str, cause: Cause) -> list[Change]:
        """Forget a record and everything known of it; its cluster is judged again without it."""
        self._load([record_id])
        partners = self._words.partners([record_id], "same", "different", "undecided")
        self._load(partners)
        linked = [e.other(record_id) for e in self._drop_edges(record_id) if e.match.duplicate]
        stay = [r for r in (*self._register.companions(record_id), *linked, *partners) if r != record_id]
        self._words.drop(record_id, cause.ingested_ms)
        self._redo.drop(record_id)
        self._erased[record_id] = cause.source
        self._records[record_id] = None
        self._members.pop(record_id, None)
        changes = self._part(stay, cause, record=record_id)
        self._register.forget(record_id)
        return [*changes, *self._end_row(cause)]

    def rule(self, verdict: Verdict, cause: Cause) -> list[Change] | None:
        """Obey what a person says of two records; None when it counts for nothing.

        That is so when an older word comes late, and when one of the two was erased: then the topic, where it took the place
        of the newer one, is told so. A word on a record that has not come yet is kept for it.
        """
        self._load([verdict.a, verdict.b])
        earlier = self._words.get(verdict.a, verdict.b)
        there = [r for r in (verdict.a, verdict.b) if r in self]
        if any(r not in there and r in self._erased for r in (verdict.a, verdict.b)):
            self._words.end(verdict, cause.ingested_ms)
            return None
        if earlier and is_stale(verdict.source, earlier.source):
            if earlier.source != verdict.source:
                self._words.restate(earlier)
            return None
        self._note_pair((verdict.a, verdict.b))
        self._words.put(verdict)
        return self._obey(there, cause, said=verdict)

    def unsay(self, verdict: Verdict, cause: Cause) -> list[Change]:
        """Forget a word that ended with one of its records: in a rebuild it may be here still.

        Where the records came again and a person spoke of them again, that word stands. The null value of the older one took
        it from the topic, as they share their key; so the topic is told once more.
        """
        self._load([verdict.a, verdict.b])
        word = self._words.get(verdict.a, verdict.b)
        if word is None:
            return []
        if not is_stale(word.source, verdict.source):
            self._words.restate(word)
            return []
        self._note_pair((verdict.a, verdict.b))
        self._words.forget(verdict.a, verdict.b)
        return self._obey([r for r in (verdict.a, verdict.b) if r in self], cause, said=None)

    def tick(self, cause: Cause) -> list[Change]:
        """Take up again some of what earlier rows left."""
        return self._end_row(cause, self._repair.redo_per_tick)

    def take_owed(self) -> list[Verdict]:
        """What the vectors topic is to be told of people's words since this was asked last."""
        return self._words.take_owed()

    def _obey(self, there: Sequence[str], cause: Cause, *, said: Verdict | None) -> list[Change]:
        """Part the records of a word anew after it changed."""
        linked = [o for r in there for o, e in self._evidence.near(r).items() if e.match.duplicate]
        changes = self._part([*there, *linked], cause, said=said) if len(there) == 2 else []
        return [*changes, *self._end_row(cause)]

    def update(self, outbox: Sequence[OutboxEntry]) -> ScopeUpdate:
        """What changed since the book was opened, as one write."""
        before, live = self._before, self._register.live
        known = {cid: self._register.stored_members(cid) for cid in live}
        return ScopeUpdate(
            records={r: s for r, s in self._records.items() if before.records.get(r) is not s},
            assignments=self._register.assignments,
            clusters={**live, **self._register.retired},
            members_put={cid: [r for r, m in c.members.items() if known[cid].get(r) != m] for cid, c in live.items()},
            members_dropped={cid: [r for r in known[cid] if r not in c.members] for cid, c in live.items()},
            edges=self._evidence.put,
            edges_dropped=self._evidence.dropped,
            erased={r: p for r, p in self._erased.items() if before.erased.get(r) != p},
            outbox=outbox,
            verdicts=self._words.changed,
            redo_dropped=self._redo.dropped,
            redo_put=self._redo.put_last,
        )

    # parting anew

    def _part(
        self,
        seeds: Iterable[str],
        cause: Cause,
        *,
        record: str | None = None,
        said: Verdict | None = None,
        again: bool = False,
    ) -> list[Change]:
        """Part the records around some anew, and say what changed about clusters."""
        reached = self._reach(seeds, 0 if again else self._repair.records)
        members = {r: self._members[r] for r in sorted(reached)}
        found = partition(members, self._evidence, self._words, self._rules)
        for edge in found.edges:
            self._note(edge)
            self._evidence.hold(edge, found.held.get((edge.a, edge.b)))
        obeyed = self._words.obeyed(members).same
        changes = self._register.settle(found.groups, Move(cause, record, members, self._evidence, obeyed, said))
        if changes and not again:
            moved = {r for change in changes for r in (*change.added, *change.removed)} & members.keys()
            beyond = [other for other in self._evidence.leaving(moved, self._repair.edges) if other not in reached]
            for other in beyond[: self._repair.records_queued]:
                self._redo.put(other)
        return list(changes)

    def _end_row(self, cause: Cause, again: int | None = None) -> list[Change]:
        """Take up again some of what earlier rows left, then tell what became of the pairs that a person is asked about."""
        changes: list[Change] = []
        for _ in range(self._repair.redo_per_row if again is None else again):
            record_id = self._redo.take()
            if record_id is None:
                break
            self._load([record_id])
            if record_id in self:
                near = self._evidence.near(record_id).items()
                linked = [other for other, edge in near if edge.match.duplicate]
                changes += self._part([record_id, *linked], cause, again=True)
        return [*changes, *self._possible()]

    def _reach(self, seeds: Iterable[str], budget: int) -> set[str]:
        """The records to part anew: those that must be, and beside them the nearest, as long as they fit the budget."""
        reached = self._with_company(seeds)
        reached = self._with_company([*reached, *self._words.partners(reached, "different")])
        seen: set[str] = set()
        while len(reached) < budget:
            beside = [r for r in self._beside(reached) if r not in seen][:_READ_AT_ONCE]
            if not beside:
                break
            seen.update(beside)
            self._load(beside)
            for other in beside:
                wider = reached | self._with_company([other])
                if len(wider) > budget:
                    return reached
                reached = wider
        return reached

    def _beside(self, reached: set[str]) -> list[str]:
        """Records of other clusters that words or duplicates lead to from these, the nearest first; each once."""
        worded = [r for r in self._words.partners(reached, "different") if r not in reached]
        return list(dict.fromkeys([*worded, *self._evidence.leaving(reached, self._repair.edges)]))

    def _with_company(self, seeds: Iterable[str]) -> set[str]:
        """Records with their clusters, and with those that people called the same, however often."""
        reached: set[str] = set()
        frontier = list(seeds)
        while frontier:
            self._load(frontier)
            found: set[str] = set()
            for record in frontier:
                if record in self and record not in found:  # else its whole cluster is there already
                    found.update(m for m in self._register.companions(record) if m in self)
            reached |= found
            frontier = [r for r in self._words.partners(found, "same") if r not in reached]
        return reached

    # what a person is asked

    def _note(self, edge: Evidence) -> None:
        """Remember whether a person was asked about an edge before this row."""
        if (pair := (edge.a, edge.b)) not in self._asked:
            self._asked[pair] = edge if self._is_open(edge) else None

    def _note_pair(self, pair: Pair) -> None:
        if (edge := self._evidence.get(pair)) is not None:
            self._note(edge)

    def _is_open(self, edge: Evidence) -> bool:
        """Whether a person is asked: nothing and nobody has decided, and no better pair asks the same."""
        decided = self._register.together(edge.a, edge.b) or self._words.parts(edge.a, edge.b)
        return not decided and edge.held != CROWD

    def _possible(self) -> list[PossibleChange]:
        """Pairs that a person is asked about since this row, or for another reason, and pairs that need no answer now."""
        found: dict[Pair, Evidence] = {}
        withdrawn: dict[Pair, Evidence] = {}
        for pair, before in self._asked.items():
            edge = self._evidence.get(pair)
            now = edge if edge is not None and self._is_open(edge) else None
            if now is not None and (before is None or before.held != now.held):
                found[pair] = now
            elif before is not None and now is None:
                withdrawn[pair] = before
        self._asked.clear()
        # Sorted, for a store returns edges in no order and a batch run again must say the same.
        told = [PossibleChange("found", found[pair]) for pair in sorted(found)]
        return [*told, *(PossibleChange("withdrawn", withdrawn[pair]) for pair in sorted(withdrawn))]

    def _drop_edges(self, record_id: str) -> list[Evidence]:
        for edge in self._evidence.near(record_id).values():
            self._note(edge)
        return self._evidence.drop(record_id)

    # reading

    def _load(self, records: Iterable[str]) -> None:
        """Make sure that everything is known of some records: clusters, edges, words."""
        missing = sorted({r for r in records if r not in self._whole})
        if missing:
            minted = [self._mint(r) for r in missing]
            self._take_in(self._read(missing, minted))
            for cid in minted:
                self._unused.setdefault(cid, False)
            self._whole.update(missing)

    def _take_in(self, state: Neighbourhood) -> None:
        self._unused.update((cid, True) for cid in state.free)
        for record_id, found in state.records.items():
            if record_id not in self._records:
                self._before.records[record_id] = self._records[record_id] = found
                self._members.setdefault(record_id, Member(found.born_ms, found.quality))
        for record_id, position in state.erased.items():
            self._before.erased.setdefault(record_id, position)
            if record_id not in self._records:
                self._erased.setdefault(record_id, position)
        for cluster in state.clusters.values():
            for record_id, member in cluster.members.items():
                self._members.setdefault(record_id, member)
        self._register.load(state.edges, state.clusters)
        self._evidence.load(state.edges)
        self._words.load(state.verdicts)
        self._whole.update(state.edges)
