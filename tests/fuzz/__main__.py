"""`python -m tests.fuzz --inputs 1000000 --seed 1`: a campaign, its table, and code 1 where there are defects."""

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

from tests.fuzz.campaign import run


def main() -> int:
    """Run a campaign and tell what it found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="bad inputs, over all targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", help="only this one")
    parser.add_argument("--reasons", action="store_true", help="print the reasons too")
    given = parser.parse_args()
    warnings.filterwarnings("ignore", module=r"PIL\.")
    with tempfile.TemporaryDirectory() as folder:
        tallies = run(given.inputs, given.seed, Path(folder), given.target)
    print("| target | refused | read | kinds of reasons | seconds | a second | defects |")
    print("|---|---|---|---|---|---|---|")
    for name, t in tallies.items():
        rate = (t.refused + t.read) / max(t.seconds, 1e-9)
        print(
            f"| {name} | {t.refused:,} | {t.read:,} | {len(t.reasons)} | {t.seconds:.0f} | {rate:,.0f} | {len(t.defects)} |"
        )
    print(f"\n{sum(t.refused for t in tallies.values()):,} bad inputs refused, seed {given.seed}")
    for name, t in tallies.items():
        if given.reasons:
            print(f"\n{name}", *(f"{count:>9,} {reason}" for reason, count in t.reasons.most_common(80)), sep="\n")
        for defect in t.defects:
            print(f"\ndefect in {name}: {defect}", file=sys.stderr)
    return int(any(t.defects for t in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
