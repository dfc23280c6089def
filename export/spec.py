"""A model folder: the graph, the files beside it, its NOTICE, and the `spec.json` that vouches for them."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

_APACHE = """\
Licensed under the Apache License, Version 2.0 (the "License"); you may not use these files except in compliance with
the License. You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on an
"AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the License for the
specific language governing permissions and limitations under the License.
"""


def write(folder: Path, spec: Mapping[str, object], files: Mapping[str, bytes], notice: str) -> None:
    """Write `files`, NOTICE and a spec.json with the SHA-256 of each file, over what was there.

    The spec goes last: without it a folder is no model, so an interrupted export is never taken for one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").unlink(missing_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "NOTICE").write_text(notice, "utf-8")
    complete = {**spec, "sha256": {name: sha256(content).hexdigest() for name, content in files.items()}}
    (folder / "spec.json").write_text(json.dumps(complete, indent=2) + "\n", "utf-8")
    print(f"wrote {folder}")


def notice(name: str, body: str, licence: str) -> str:
    """The text of a NOTICE: what the folder holds, in `body`, and the terms."""
    terms = _APACHE if licence == "Apache-2.0" else f"Its terms are those of {licence}.\n"
    return f"{name}\n\n{body}\n\n{terms}"
