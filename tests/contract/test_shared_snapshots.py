"""A place for snapshots that several matchers write to: one that has lost a partition takes nothing from the one that has it."""

from pathlib import Path

import pytest

from tests.snapshot_places import APPLIED, MAX_AGE_SECONDS, MODELS, Clock, Place, scopes


@pytest.fixture(params=["shared disk", "object"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path, Clock())


def newest(place: Place) -> int:
    back = place.store().load(3, MODELS, APPLIED)
    assert back is not None
    return back.offset


def test_a_publish_that_comes_late_leaves_what_is_ahead_of_it(place: Place) -> None:
    before, after = place.store(), place.store()
    staged = before.stage(3, MODELS, 50, scopes())
    assert staged is not None
    after.save(3, MODELS, 60, scopes())
    before.publish(staged)
    assert newest(place) == 60
    after.save(3, MODELS, 70, scopes())
    assert place.kept() == [70]


def test_and_what_is_being_written(place: Place) -> None:
    before, after = place.store(), place.store()
    late, staged = before.stage(3, MODELS, 50, scopes()), after.stage(3, MODELS, 60, scopes())
    assert late is not None
    assert staged is not None
    before.publish(late)
    after.publish(staged)
    assert after.unsaved() == []
    assert newest(place) == 60
    assert place.kept() == [60]


def test_what_is_ahead_goes_once_it_is_too_old(place: Place) -> None:
    place.store().save(3, MODELS, 60, scopes())
    place.clock.seconds += MAX_AGE_SECONDS + 1
    place.store().save(3, MODELS, 50, scopes())
    assert place.kept() == [50]


def test_one_that_is_replaced_while_it_is_read_is_not_missed(place: Place) -> None:
    """Who lets a partition go writes its snapshot while the next owner looks for one."""
    before = place.store()
    before.save(3, MODELS, 50, scopes())
    staged = [before.stage(3, MODELS, 60, scopes())]

    def publish() -> None:
        if staged and (late := staged.pop()) is not None:
            before.publish(late)

    back = place.store(beat=publish).load(3, MODELS, APPLIED)
    assert place.kept() == [60]
    assert back is not None
    assert back.offset == 60
