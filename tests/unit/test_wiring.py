"""What a profile names is what gets built."""

from pathlib import Path

import pytest

from consumer.adapters.onnx_text_encoder import OnnxTextEncoder
from consumer.adapters.subword_encoder import SubwordEncoder
from consumer.adapters.text_encoder import TextEncoder
from consumer.doctor import examine
from consumer.encode import EncoderSet, EncodeStage
from consumer.errors import ModelError, SettingsError
from consumer.loop import result_of
from consumer.metrics import METRICS
from consumer.ports import Model
from consumer.profile import load_profile
from consumer.records import Position, Record
from consumer.settings import load_settings
from consumer.wiring import build_encoders
from tests.factories import message, signup
from tests.services import ROOT

SIGNUP = (ROOT / "consumer" / "profiles" / "signup.yaml").read_text()
SHIPPED = "model: subword"


def profile_with(model: str, tmp_path: Path) -> str:
    path = tmp_path / "profile.yaml"
    assert SHIPPED in SIGNUP
    path.write_text(SIGNUP.replace(SHIPPED, f"model: {model}"))
    return str(path)


@pytest.mark.parametrize(("model", "kind"), [("all-minilm-l6-v2", OnnxTextEncoder), ("subword", SubwordEncoder)])
def test_the_text_modality_runs_on_the_model_it_names(model: str, kind: type, tmp_path: Path) -> None:
    encoders = build_encoders(load_settings(), load_profile(profile_with(model, tmp_path)))
    assert isinstance(encoders.encoders["text"], kind)
    record = Record("r", "default", {"name": "Ana Torres", "city": "Lima"}, 0, Position("signups", 0, 0), 0)
    [vector] = encoders.encode([record])
    assert vector.values.shape == (encoders.layout.dim,)
    assert vector.mask >> list(encoders.profile.modalities).index("text") & 1


def test_only_a_subword_model_can_leave_codes_out(tmp_path: Path) -> None:
    profile = load_profile(profile_with("all-minilm-l6-v2, codes: false", tmp_path))
    with pytest.raises(SettingsError, match="all-minilm-l6-v2 is none"):
        build_encoders(load_settings(), profile)


def test_a_missing_model_is_not_taken_for_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        build_encoders(load_settings(), load_profile(profile_with("nowhere, codes: false", tmp_path)))


@pytest.fixture(scope="module")
def signup_encoders() -> EncoderSet:
    return build_encoders(load_settings(), load_profile("signup"))


def test_what_runs_where_is_a_metric_and_doctor_says_why(signup_encoders: EncoderSet) -> None:
    encoder = signup_encoders.encoders["text"]
    assert isinstance(encoder, Model)
    labels = {"modality": "text", "encoder": "text", "provider": encoder.provider}
    assert METRICS.registry.get_sample_value("dedup_model_info", labels) == 1
    said = next(finding for finding in examine(load_settings()) if finding.what == "provider of text")
    assert (said.level, said.detail) == ("ok", encoder.provider)
    assert all(reason in said.advice for reason in encoder.passed_over)
    assert bool(said.advice) == bool(encoder.passed_over)


def test_models_are_warm_before_records_come(signup_encoders: EncoderSet) -> None:
    signup_encoders.warm_up()
    taken = METRICS.registry.get_sample_value("dedup_warm_up_seconds", {"modality": "text"})
    assert taken is not None
    assert taken > 0


def test_an_erasure_leaves_no_vector_in_a_cache(signup_encoders: EncoderSet) -> None:
    encoder = signup_encoders.encoders["text"]
    assert isinstance(encoder, TextEncoder)
    stage = EncodeStage(signup_encoders, 1)
    result_of(stage, [message(signup("Ann Lee"), "r1"), message(signup("Bo Öst"), "r2", offset=1)])
    assert len(encoder._cache) == 2
    result_of(stage, [message(None, "r1", offset=2), message(signup("Cy Ng"), "r3", offset=3)])
    assert len(encoder._cache) == 0


def test_a_rotation_key_turns_every_block(signup_encoders: EncoderSet) -> None:
    key = {"privacy.rotation_key": "a secret of 16 or more"}
    turned = build_encoders(load_settings(None, key), load_profile("signup"))
    assert turned.rotation is not None
    assert turned.rotation.dims == dict(zip(turned.layout.names, turned.layout.dims, strict=True))
    assert turned.fingerprint != signup_encoders.fingerprint
    assert any(finding.what == "privacy.rotation_key" for finding in examine(load_settings(None, key)))


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nosuch"):
        build_encoders(load_settings(), load_profile(profile_with("nosuch", tmp_path)))
