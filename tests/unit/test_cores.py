"""Cores for this process, from folders that look like the kernel's."""

import os
import sys
from pathlib import Path

import pytest

from consumer.cores import available_cores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="control groups and affinity masks are Linux's")


def cores(tmp_path: Path, own: str, files: dict[str, str], monkeypatch: pytest.MonkeyPatch, mask: int = 64) -> int:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(mask)))
    root = tmp_path / "cgroup"
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "own").write_text(own)
    return available_cores(root, tmp_path / "own")


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {}, 64),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "6400000 50000\n"}, 64),
        # the least of the path counts, wherever it is
        ("0::/a/b\n", {"cpu.max": "max 100000", "a/cpu.max": "300000 100000", "a/b/cpu.max": "500000 100000"}, 3),
        ("0::/a/b\n", {"a/cpu.max": "800000 100000", "a/b/cpu.max": "400000 100000"}, 4),
        # a neighbour's does not
        ("0::/a/b\n", {"a/c/cpu.max": "100000 100000"}, 64),
        # the host's path, in a container where only its own group is mounted
        ("0::/host/pod42\n", {"cpu.max": "300000 100000"}, 3),
        ("0::/../../pod42\n", {"cpu.max": "300000 100000"}, 3),
        # version 1
        ("4:cpu,cpuacct:/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "150000", "cpu,cpuacct/cpu.cfs_period_us": "50000"}, 3),
        ("4:cpu:/p\n1:memory:/\n", {"cpu/p/cpu.cfs_quota_us": "-1", "cpu/p/cpu.cfs_period_us": "100000"}, 64),
        ("4:cpu:/p\n", {"cpu/cpu.cfs_quota_us": "500000", "cpu/cpu.cfs_period_us": "100000"}, 5),
        # version 2 beside version 1
        ("4:cpu:/\n0::/\n", {"unified/cpu.max": "700000 100000"}, 7),
        # nonsense is no quota
        ("0::/\n", {"cpu.max": "many 100000"}, 64),
        ("0::/\n", {"cpu.max": "100000 0"}, 64),
        ("", {"cpu.max": "100000 100000"}, 64),
    ],
)
def test_the_least_of_mask_and_quotas(
    own: str, files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cores(tmp_path, own, files, monkeypatch) == expected


def test_the_mask_may_be_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cores(tmp_path, "0::/\n", {"cpu.max": "800000 100000"}, monkeypatch, mask=3) == 3


def test_of_this_machine() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    assert available_cores(tmp_path / "none", tmp_path / "nothing") >= 1
