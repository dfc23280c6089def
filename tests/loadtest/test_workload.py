"""Workloads: what is bundled is right, and what is wrong is told."""

from pathlib import Path

import pytest

from consumer.errors import SettingsError
from loadtest.workload import bundled, load_workload

WHOLE = "name: mine\nabout: a test\nmix: {new: 1}\nphases: [{rate: 10, seconds: 20}]\n"


@pytest.mark.parametrize("name", bundled())
def test_bundled_ones_are_whole_and_named_as_their_file(name: str) -> None:
    assert load_workload(name).name == name


def test_rate_and_seconds_replace_those_of_the_only_phase() -> None:
    (phase,) = load_workload("steady", rate=5, seconds=30).steps()[0]
    assert (phase.rate, phase.seconds) == (5, 30)


def test_rate_is_where_a_sweep_starts() -> None:
    first, second, *_ = load_workload("sweep", rate=100).steps()
    assert [first[0].rate, second[0].rate] == [100, 125]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("phases: [{rate: 10, seconds: 20}]\nsweep: {start: 5}", "either phases or a sweep"),
        ("warm_up_seconds: 20\nphases: [{rate: 10, seconds: 20}]", "leaves nothing to measure"),
        ("sweep: {start: 10, operating: {share: 0.7, seconds: 5}}", "5 of 5 s leaves nothing to measure"),
        ("phases: [{rate: 0, seconds: 20}]", "phases.0.rate: Input should be greater than 0"),
        ("phases: [{rate: 10, seconds: 20}]\nmix: {new: 0.5, erase: 0.2}", "the shares sum to 0.7, not to 1"),
        ("phases: [{rate: 10, seconds: 20}]\nmix: {update: 1}", "new: must be above 0"),
        ("phases: [{rate: 10, seconds: 20}]\nspeed: 3", "speed: there is no such name here"),
        ("phases: [", "not YAML"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, change: str, told: str) -> None:
    file = tmp_path / "mine.yaml"
    given = {line.partition(":")[0] for line in change.splitlines()} | {"phases"}
    kept = [line for line in WHOLE.splitlines() if line.partition(":")[0] not in given]
    file.write_text("\n".join([*kept, change]))
    with pytest.raises(SettingsError, match=rf"(?s)mine\.yaml.*{told}"):
        load_workload(str(file))


def test_a_name_that_is_nothing_says_what_there_is() -> None:
    with pytest.raises(SettingsError, match=r"neither bundled \(burst, demo, .*\) nor a readable file"):
        load_workload("stady")


def test_a_rate_for_several_phases_is_refused() -> None:
    with pytest.raises(SettingsError, match="several phases"):
        load_workload("burst", rate=5)
