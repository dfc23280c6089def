"""`python -m tests.chart.cluster`: break a release on the cluster that KUBECONFIG names, under a running stream.

The images are those that `python -m tests.chart.build_images` builds, on the nodes already. Exit code 1: a promise broke.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from tests.chart.cluster.drills import DRILLS, NEEDED
from tests.chart.cluster.kube import Namespace, namespace
from tests.chart.cluster.run import drilled, faults, table
from tests.services import MissingServiceError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chart.cluster", description=__doc__)
    parser.add_argument("--only", default="", help="words, by commas: only drills whose names hold one")
    parser.add_argument("--per-second", type=float, default=20.0, help="signups sent")
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    given = parser.parse_args()
    asked = [name for name in DRILLS if any(word in name for word in given.only.split(","))]
    try:
        with namespace("dedup-drills") as space:
            names = list(_possible(space, asked))
            judged = drilled(space, names, given.per_second)
    except MissingServiceError as error:
        print(error, file=sys.stderr)
        return 1
    if given.out is not None:
        given.out.write_bytes(orjson.dumps(judged, option=orjson.OPT_INDENT_2))
    wrong = faults(judged)
    promised = (
        f"{judged['records']} records, {judged['events']} events; lost {len(judged['lost'])}, doubled "
        f"{len(judged['doubled'])}, gaps {len(judged['gaps'])}; F1 {judged['f1']}"
    )
    print(table(judged), promised, *wrong, sep="\n")
    return 1 if wrong else 0


def _possible(space: Namespace, names: Sequence[str]) -> Iterator[str]:
    served = space.kubectl("get", "apiservices", "-o", "name")
    for name in names:
        if name in NEEDED and NEEDED[name] not in served:
            print(f"{name}: not run, the cluster does not serve {NEEDED[name]}")
        else:
            yield name


if __name__ == "__main__":
    sys.exit(main())
