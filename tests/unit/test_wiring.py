"""What a profile names is what gets built."""

from pathlib import Path

import pytest

from consumer.adapters.onnx_text_encoder import OnnxTextEncoder
from consumer.adapters.subword_encoder import SubwordEncoder
from consumer.errors import ModelError
from consumer.profile import load_profile
from consumer.records import Position, Record
from consumer.settings import load_settings
from consumer.wiring import build_encoders
from tests.services import ROOT

SIGNUP = (ROOT / "consumer" / "profiles" / "signup.yaml").read_text()
SHIPPED = "all-minilm-l6-v2"


def profile_with(model: str, tmp_path: Path) -> str:
    path = tmp_path / "profile.yaml"
    path.write_text(SIGNUP.replace(SHIPPED, model))
    return str(path)


@pytest.mark.parametrize(("model", "kind"), [(SHIPPED, OnnxTextEncoder), ("subword", SubwordEncoder)])
def test_the_text_modality_runs_on_the_model_it_names(model: str, kind: type, tmp_path: Path) -> None:
    encoders = build_encoders(load_settings(), load_profile(profile_with(model, tmp_path)))
    assert isinstance(encoders.encoders["text"], kind)
    record = Record("r", "default", {"name": "Ana Torres", "city": "Lima"}, 0, Position("signups", 0, 0), 0)
    [vector] = encoders.encode([record])
    assert vector.values.shape == (encoders.layout.dim,)
    assert vector.mask >> list(encoders.profile.modalities).index("text") & 1


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nosuch"):
        build_encoders(load_settings(), load_profile(profile_with("nosuch", tmp_path)))
