"""The memory limit of this process, from folders that look like the kernel's."""

from pathlib import Path

import pytest

from consumer.memory import memory_limit_bytes

GIB = 2**30


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {}, 0),
        ("0::/\n", {"memory.max": "max\n"}, 0),
        ("0::/\n", {"memory.max": f"{2 * GIB}\n"}, 2 * GIB),
        # the least of the path counts, and a neighbour's does not
        ("0::/a/b\n", {"a/memory.max": f"{GIB}", "a/b/memory.max": f"{2 * GIB}", "a/c/memory.max": "1"}, GIB),
        # the host's path, in a container where only its own group is mounted
        ("0::/host/pod42\n", {"memory.max": f"{GIB}"}, GIB),
        # version 1, which says a number near 2^63 for none
        ("5:memory:/a\n", {"memory/a/memory.limit_in_bytes": f"{GIB}"}, GIB),
        ("5:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712"}, 0),
        ("", {"memory.max": "1"}, 0),
    ],
)
def test_the_limit(tmp_path: Path, own: str, files: dict[str, str], expected: int) -> None:
    for name, content in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "own").write_text(own)
    assert memory_limit_bytes(tmp_path / "cgroup", tmp_path / "own") == expected


def test_on_this_machine_it_is_a_number() -> None:
    assert memory_limit_bytes() >= 0
