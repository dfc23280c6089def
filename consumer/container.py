"""The control groups that this process is in, versions 1 and 2: its own, and all groups above."""

from collections.abc import Iterator
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
"""A line for each hierarchy: number, controllers, path."""


def groups(controller: str, control_groups: Path = CONTROL_GROUPS, own_groups: Path = OWN_GROUPS) -> Iterator[Path]:
    """Folders in which the limits of a controller, such as `cpu`, may be; not all of them need be there."""
    for root, path in _hierarchies(controller, control_groups, own_groups):
        # In a container the path may be the host's; of that only the root is there, and it is the container's group.
        folder = root / path.lstrip("/")
        for group in (folder, *folder.parents):
            if group == root or root in group.parents:
                yield group


def _hierarchies(controller: str, control_groups: Path, own_groups: Path) -> Iterator[tuple[Path, str]]:
    """(where it is mounted, the path of our group in it) of those that know the controller."""
    for line in (read(own_groups) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2, alone or beside version 1
            yield control_groups, path
            yield control_groups / "unified", path
        elif controller in controllers.split(","):
            yield control_groups / controllers, path
            yield control_groups / controller, path


def read(path: Path) -> str | None:
    """What a file of the kernel says; None where there is none."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
