"""A snapshot store that keeps nothing: for runs whose input is at hand, such as `dedup batch`."""

from collections.abc import Collection, Mapping

from consumer.ports import Snapshot, VectorIndex


class NoSnapshots:
    """Every start is from the beginning."""

    def save(
        self, partition: int, fingerprint: str, offset: int, scopes: Mapping[str, tuple[VectorIndex, int]]
    ) -> None:
        """Nothing is written."""

    def unsaved(self) -> Collection[int]:
        return ()

    def load(self, partition: int, fingerprint: str, applied: Mapping[str, int]) -> Snapshot | None:
        del partition, fingerprint, applied
        return None
