"""The limit of open files."""

import subprocess
import sys

PROGRAM = """
import resource
from click.testing import CliRunner
from consumer.__main__ import cli

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 256))
assert CliRunner().invoke(cli, ["topics", "--help"]).exit_code == 0
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (256, 256)
"""


def test_a_command_may_open_as_many_as_the_system_allows() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
