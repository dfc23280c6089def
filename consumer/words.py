"""What people say of pairs of records: a working copy, and what of it counts where people contradict each other."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from consumer.records import Verdict


@dataclass(frozen=True, slots=True)
class Obeyed:
    """The words that count, newest first."""

    same: list[Verdict]
    different: list[Verdict]


class Words:
    """The words on the records of a neighbourhood, remembering whose changed. One pair has one word, its last."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, Verdict]] = {}
        self._changed: set[str] = set()
        self._owed: list[Verdict] = []

    def load(self, verdicts: Mapping[str, Mapping[str, Verdict]]) -> None:
        """Take in all stored words on some records that were not loaded before."""
        for record, said in verdicts.items():
            self._of.setdefault(record, dict(said))

    @property
    def changed(self) -> dict[str, dict[str, Verdict]]:
        """Record → all that is said of it now, for the records where that changed."""
        return {record: dict(self._of.get(record, {})) for record in sorted(self._changed)}

    def get(self, a: str, b: str) -> Verdict | None:
        """The last word on a pair, of which one record at least was loaded."""
        return self._of.get(a, {}).get(b) or self._of.get(b, {}).get(a)

    def of(self, record_id: str) -> Mapping[str, Verdict]:
        """The words on a record that was loaded, by the other record."""
        return self._of.get(record_id, {})

    def put(self, verdict: Verdict) -> None:
        """Note a word in the place of an earlier one on the same pair. Both records must have been loaded."""
        for record, other in ((verdict.a, verdict.b), (verdict.b, verdict.a)):
            self._of.setdefault(record, {})[other] = verdict
            self._changed.add(record)

    def drop(self, record_id: str, now_ms: int) -> None:
        """Forget all that was said of a record. It and its partners must have been loaded."""
        said = self._of.pop(record_id, {})
        for other, verdict in said.items():
            self._of.get(other, {}).pop(record_id, None)
            self.end(verdict, now_ms)
        self._changed.update(said, [record_id] if said else [])

    def forget(self, a: str, b: str) -> None:
        """Forget what was said of a pair. Both records must have been loaded."""
        for record, other in ((a, b), (b, a)):
            if self._of.get(record, {}).pop(other, None) is not None:
                self._changed.add(record)

    def end(self, verdict: Verdict, now_ms: int) -> None:
        """Note that a word is to end in the vectors topic too."""
        self._owed.append(replace(verdict, says="undecided", by="", said_ms=now_ms, ingested_ms=now_ms))

    def restate(self, verdict: Verdict) -> None:
        """Note that the vectors topic lost a word that holds."""
        self._owed.append(verdict)

    def take_owed(self) -> list[Verdict]:
        """What the vectors topic is to be told since this was asked last."""
        owed, self._owed = self._owed, []
        return owed

    def partners(self, records: Iterable[str], *says: str) -> list[str]:
        """The other records of the words on some records, of those that say one of `says`; sorted."""
        found = {other for r in records for other, v in self._of.get(r, {}).items() if v.says in says}
        return sorted(found)

    def parts(self, a: str, b: str) -> bool:
        """Whether a person said of this very pair that they differ."""
        verdict = self.get(a, b)
        return verdict is not None and verdict.says == "different"

    def obeyed(self, records: Collection[str]) -> Obeyed:
        """The words between two of some records that count.

        People may contradict each other over several pairs (a is b, b is c, a is not c). Words are taken from the newest
        to the oldest, and one that contradicts what newer ones say together counts for nothing.
        """
        between = [v for r in records for o, v in self._of.get(r, {}).items() if r == v.a and o in records]
        obeyed, groups = Obeyed([], []), {record: {record} for v in between for record in (v.a, v.b)}
        for verdict in sorted(between, key=newest_first):
            one, other = groups[verdict.a], groups[verdict.b]
            if verdict.says == "different" and one is not other:
                obeyed.different.append(verdict)
            elif verdict.says == "same" and not any(_across(v, one, other) for v in obeyed.different):
                obeyed.same.append(verdict)
                one |= other
                groups.update(dict.fromkeys(other, one))
        return obeyed


def newest_first(verdict: Verdict) -> tuple[int, int, int, str, str]:
    """A total order of words on different pairs, by the time people say they said it."""
    return -verdict.said_ms, -verdict.ingested_ms, -verdict.source.offset, verdict.a, verdict.b


def _across(verdict: Verdict, one: Collection[str], other: Collection[str]) -> bool:
    return (verdict.a in one and verdict.b in other) or (verdict.b in one and verdict.a in other)
