"""What can be known of the dependencies without asking anyone: they are pinned by content, and may be used."""

import json
import re
from importlib import metadata

import pytest

from tests.audit import LOCKS, ROOT, report

ALLOWED = {
    *("0BSD", "Apache-2.0", "Apache 2.0", "BSD-2-Clause", "BSD-3-Clause", "3-Clause BSD License", "CC0-1.0", "ISC"),
    *("ISC License (ISCL)", "MIT", "MIT License", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib"),
    *("Apache Software License", "BSD License", "Python Software Foundation License"),
}
"""Licences of packages that a user installs; each allows commercial use, none asks for our sources."""
UNTOLD = {"hnswlib": "Apache-2.0"}
"""Packages whose metadata says nothing, and what their repository says."""
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[[a-z0-9,_-]+\])?==(?P<version>[^ ;\\]+)( ;[^\\]*)? \\$")


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_is_held_to_the_digest_of_its_files(lock: str) -> None:
    entries = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / lock).read_text().strip())
    assert len(entries) > 40
    for entry in entries:
        first, *rest = entry.splitlines()
        assert _PIN.match(first), first
        hashes = [line.strip() for line in rest if "--hash" in line]
        assert hashes, first
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}( \\)?", line) for line in hashes), first
    assert not re.search(r"://|^-", (ROOT / lock).read_text(), re.MULTILINE), "a lock names no host"


def licences(name: str) -> set[str]:
    """By the licence expression, else the classifiers, else the words of the metadata."""
    told = metadata.metadata(name)
    expression, *_ = told.get_all("License-Expression") or [""]
    if expression:
        return set(re.split(r" AND | OR ", expression.replace("(", "").replace(")", "")))
    classified = [c.rpartition(" :: ")[2] for c in told.get_all("Classifier") or [] if c.startswith("License :: ")]
    if classified:
        return set(classified)
    words, *_ = told.get_all("License") or [UNTOLD.get(name, "")]
    return set(words.split(" AND "))


def test_what_a_user_installs_may_be_used() -> None:
    pins = [found["name"] for line in (ROOT / LOCKS[0]).read_text().splitlines() if (found := _PIN.match(line))]
    installed = [name for name in pins if any(True for _ in metadata.distributions(name=name))]
    assert len(installed) > 40
    assert {name: odd for name in installed if (odd := licences(name) - ALLOWED)} == {}


def test_an_audit_that_looked_nothing_up_says_so() -> None:
    skipped = {"name": "jinja2", "skip_reason": "Dependency not found on PyPI and could not be audited"}
    known = {"id": "CVE-1", "fix_versions": ["8.1"], "aliases": [], "description": ""}

    def answer(*vulnerabilities: object) -> str:
        return json.dumps({"dependencies": [skipped, {"name": "click", "version": "8", "vulns": vulnerabilities}]})

    found = report(answer())
    assert (found.looked_up, found.skipped, found.vulnerable) == (1, ["jinja2"], [])
    assert report(answer(known)).vulnerable == ["click 8: CVE-1, mended in 8.1"]
