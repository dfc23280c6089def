"""Whether groups of records that are linked may become one cluster: the guards against chains and hairballs."""

from dataclasses import dataclass

from consumer.groups import Groups

SIZE_CAP = "size_cap"
CROWD = "crowd"
"""As `SIZE_CAP`, and a better pair asks a person about the same two groups."""
QUORUM = "quorum"
WEAK_BRIDGE = "weak_bridge"
RULED_APART = "ruled_apart"
AMBIGUOUS = "ambiguous"
AS_LIKELY = 10.0
"""Two groups are about as likely when the odds of one's best pair are less than so many times those of the other's."""
_LEAST = 1e-4
"""Probabilities have four decimals."""


@dataclass(frozen=True, slots=True)
class MergeRules:
    """Two groups of records become one cluster when enough of the pairs across them are duplicates.

    One wrong pair would otherwise chain two clusters of people: that is the most costly error there is. Two single
    records need their one link; a record needs links to `quorum` of a cluster's members; two clusters need them
    between `quorum` of all pairs across, and their medoids must at least be a possible match. Of a cluster larger than
    what a record is compared with no more links are asked than there can be.

    What people say goes above that: groups with a record each that differ stay apart, and a group that could about as
    well join either of two such groups joins neither, for it is a person who can tell them apart.
    """

    max_size: int
    """Of a cluster, in records."""
    quorum: float
    """0 to 1; 0 joins whatever one link holds together (connected components), whatever the medoids."""
    neighbours: int
    """A record is compared with so many others, so it can be linked to no more of a cluster when it comes."""

    def objection(self, groups: Groups, one: int, other: int) -> str | None:
        """Why two linked groups must stay apart; None when they may join."""
        if other in groups.ruled_apart(one):
            return RULED_APART
        objection = self._doubt(groups, one, other)
        if objection is None and (self._torn(groups, one, other) or self._torn(groups, other, one)):
            return AMBIGUOUS
        return objection

    def _doubt(self, groups: Groups, one: int, other: int) -> str | None:
        """What speaks against a merge, were nobody asked."""
        size, other_size = groups.size(one), groups.size(other)
        if size + other_size > self.max_size:
            return SIZE_CAP
        if self.quorum == 0:
            return None
        comparable = min(size, other_size) * min(max(size, other_size), self.neighbours)
        needed = round(self.quorum * comparable, 6)  # .07 · 100 is a little more than 7
        if needed > 1 and groups.links(one, other) < needed:
            return QUORUM
        if size > 1 and other_size > 1 and groups.bridge(one, other) is None:
            return WEAK_BRIDGE
        return None

    def _torn(self, groups: Groups, group: int, asked: int) -> bool:
        """Whether `group` could about as well join one that a person keeps apart from the group that asks."""
        likely = _odds(groups.best(group, asked))
        rivals = [r for r in groups.ruled_apart(asked) if _odds(groups.best(group, r)) * AS_LIKELY >= likely]
        return any(groups.links(group, rival) and self._doubt(groups, group, rival) is None for rival in rivals)


def _odds(probability: float) -> float:
    return probability / max(1 - probability, _LEAST)
