"""Nobody is told that, where and with what models this runs."""

import subprocess
import sys
from pathlib import Path

from tests.deployment import clean_environment
from tests.services import ROOT

LOAD = """
from consumer.settings import load_settings
from consumer.profile import load_profile
from consumer.wiring import build_encoders

build_encoders(load_settings(), load_profile("signup"))
"""


def test_loading_a_model_leaves_no_trace_in_the_home_of_the_user(tmp_path: Path) -> None:
    """ONNX Runtime, left alone, writes an id and a queue of events there before it sends them."""
    unset = {"ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in clean_environment().items() if name not in unset}
    subprocess.run([sys.executable, "-c", LOAD], env={**environment, "HOME": str(tmp_path)}, cwd=ROOT, check=True)
    assert list(tmp_path.rglob("*")) == []
