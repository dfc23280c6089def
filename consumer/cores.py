"""How many cores this process may use: of the machine, of its affinity, and of its container's quota.

A container with a quota of 2 on a machine of 64 cores sees 64; 64 threads would spend the quota in the first
milliseconds of each period and then stand still.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from consumer.container import CONTROL_GROUPS, OWN_GROUPS, groups, read


def available_cores(control_groups: Path = CONTROL_GROUPS, own_groups: Path = OWN_GROUPS) -> int:
    """Cores for this process, at least 1.

    The least of its affinity mask and the quotas of its control group and all groups above, versions 1 and 2. A quota is
    rounded down: the rest is for the threads beside those of a model. `own_groups` is a file like /proc/self/cgroup.
    """
    mask = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    quotas = [int(quota) for group in groups("cpu", control_groups, own_groups) for quota in _quota(group)]
    return max(1, min([mask, *quotas]))


def _quota(group: Path) -> Iterator[float]:
    """In cores. A group that has none, or cannot be read, yields nothing."""
    words = (read(group / "cpu.max") or "").split()
    if len(words) != 2:
        words = [read(group / "cpu.cfs_quota_us") or "", read(group / "cpu.cfs_period_us") or ""]
    try:
        quota, period = map(int, words)
    except ValueError:  # `max`, or no such files
        return
    if quota > 0 and period > 0:  # version 1 says -1 for none
        yield quota / period
