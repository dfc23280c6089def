"""The parts of the encode stage, each by itself: no broker, no loop, nothing of the one in the other."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime

from consumer.adapters.subword_encoder import SubwordEncoder, padded
from consumer.adapters.subword_tokens import features_of
from consumer.adapters.texts import batches as by_length
from consumer.adapters.texts import text_of
from consumer.cores import available_cores
from consumer.decode import decode
from consumer.profile import TextModality
from consumer.records import FieldValue, Message, Record
from consumer.vectors import pack_vector
from consumer.wiring import models_directory
from loadtest.ceiling.clock import Clock, Cost, batches
from loadtest.ceiling.site import Site

_BUDGET_IDS = 2048
"""Of a forward pass, as `SubwordEncoder` has it on a processor."""


def encode_parts(site: Site, messages: Sequence[Message]) -> Mapping[str, Cost]:
    """What each part costs, over messages that no encoder has seen."""
    clock = Clock()
    profile, encoders = site.profile, site.encoders
    runner = _Runner(site)
    for batch in batches(messages):
        with clock.part("JSON: decode and validate"):
            items = [decode(message, profile) for message in batch]
        records = [item for item in items if isinstance(item, Record)]
        for name, modality in profile.modalities.items():
            rows = [{f: r.fields[f] for f in modality.fields if f in r.fields} for r in records]
            encoder = encoders.encoders[name]
            if isinstance(encoder, SubwordEncoder) and isinstance(modality, TextModality):
                runner.run(clock, modality, rows)
            else:
                with clock.part(f"encoder {name}"):
                    encoder.encode(rows)
        vectors = encoders.encode(records)
        with clock.part("pack vectors"):
            for vector in vectors:
                pack_vector(vector, profile.vectors_topic, 0)
    return clock.costs(len(messages))


class _Runner:
    """Text models, taken apart: features of texts, then ONNX Runtime on inputs that are ready."""

    def __init__(self, site: Site) -> None:
        self._folder = models_directory(site.settings)
        self._threads = site.settings.models.threads or available_cores()
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    def run(self, clock: Clock, modality: TextModality, rows: Sequence[Mapping[str, FieldValue]]) -> None:
        with clock.part("tokenise"):
            texts = dict.fromkeys(text_of(row, modality.fields) for row in rows)
            ids = sorted((found for found in features_of(list(texts), codes=modality.codes) if len(found)), key=len)
            inputs = [padded([one for _, one in part]) for part in by_length(list(enumerate(ids)), _BUDGET_IDS)]
        session = self._session(modality.model)
        with clock.part("ONNX Runtime"):
            for given in inputs:
                session.run(None, given)

    def _session(self, model: str) -> onnxruntime.InferenceSession:
        if model not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self._threads
            options.inter_op_num_threads = 1
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            session = onnxruntime.InferenceSession(
                str(self._folder / model / "model.onnx"), options, providers=["CPUExecutionProvider"]
            )
            session.run(None, {given.name: np.ones((1, 1), np.int64) for given in session.get_inputs()})
            self._sessions[model] = session
        return self._sessions[model]
