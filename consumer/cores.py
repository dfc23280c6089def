"""How many cores this process may use: of the machine, of its affinity, and of its container's quota.

A container with a quota of 2 on a machine of 64 cores sees 64; 64 threads would spend the quota in the first
milliseconds of each period and then stand still.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def available_cores(control_groups: Path = _CONTROL_GROUPS, own_groups: Path = _OWN_GROUPS) -> int:
    """Cores for this process, at least 1.

    The least of its affinity mask and the quotas of its control group and all groups above, versions 1 and 2. A quota is
    rounded down: the rest is for the threads beside those of a model. `own_groups` is a file like /proc/self/cgroup.
    """
    mask = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    quotas = [int(quota) for quota in _quotas(control_groups, own_groups)]
    return max(1, min([mask, *quotas]))


def _quotas(control_groups: Path, own_groups: Path) -> Iterator[float]:
    """In cores. A group that has none, or cannot be read, yields nothing."""
    for root, path in _hierarchies(control_groups, own_groups):
        # In a container the path may be the host's; of that only the root is there, and it is the container's group.
        folder = root / path.lstrip("/")
        for group in (folder, *folder.parents):
            if group == root or root in group.parents:
                yield from _quota(group)


def _hierarchies(control_groups: Path, own_groups: Path) -> Iterator[tuple[Path, str]]:
    """(where it is mounted, the path of our group in it) of those that know quotas of processor time."""
    for line in (_read(own_groups) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2, alone or beside version 1
            yield control_groups, path
            yield control_groups / "unified", path
        elif "cpu" in controllers.split(","):
            yield control_groups / controllers, path
            yield control_groups / "cpu", path


def _quota(group: Path) -> Iterator[float]:
    words = (_read(group / "cpu.max") or "").split()
    if len(words) != 2:
        words = [_read(group / "cpu.cfs_quota_us") or "", _read(group / "cpu.cfs_period_us") or ""]
    try:
        quota, period = map(int, words)
    except ValueError:  # `max`, or no such files
        return
    if quota > 0 and period > 0:  # version 1 says -1 for none
        yield quota / period


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
