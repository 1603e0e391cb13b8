"""`python -m benchmarks`: measure this project; write results/ beside this file.

Run it on a machine that does nothing else; two CPUs are enough.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import (
    adversarial,
    drift,
    explanations,
    serving,
    shapes,
    startup,
    steps,
    training,
)

RESULTS = Path(__file__).with_name("results")
WHAT = (
    *("steps", "shapes", "serving", "explanations", "startup", "training", "drift"),
    "adversarial",
)


def main() -> None:
    """Run what the command line names, everything by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "what",
        nargs="*",
        default=WHAT,
        metavar="|".join(WHAT),
    )
    parser.add_argument("--turns", type=int, default=10, help="alternations (default 10)")
    parser.add_argument("--seconds", type=int, default=2, help="of one burst (default 2)")
    parser.add_argument("--rows", type=int, help="of training (default: three sizes)")
    parser.add_argument(
        "--python",
        default=sys.executable,
        help="interpreter that trains the model of explanations and explains through XGBoost: one "
        "of an earlier version, for example",
    )
    parser.add_argument("--bytes", type=int, default=25 << 20, help="of a hostile body")
    arguments = parser.parse_args()
    unknown = set(arguments.what) - set(WHAT)
    if unknown:
        parser.error(f"unknown benchmark: {', '.join(sorted(unknown))}")
    if "steps" in arguments.what:
        steps.launch(RESULTS, arguments.turns)
    if "shapes" in arguments.what:
        shapes.launch(RESULTS, arguments.turns)
    if "serving" in arguments.what:
        serving.run(RESULTS, arguments.turns, arguments.seconds)
    if "explanations" in arguments.what:
        explanations.run(RESULTS, arguments.turns, arguments.seconds, arguments.python)
    if "startup" in arguments.what:
        startup.run(RESULTS, max(3, arguments.turns // 3))
    if "training" in arguments.what:
        sizes = (arguments.rows,) if arguments.rows else training.SIZES
        training.run(RESULTS, sizes, arguments.turns)
    if "drift" in arguments.what:
        drift.run(RESULTS, arguments.turns, arguments.seconds)
    if "adversarial" in arguments.what:
        adversarial.run(RESULTS, arguments.bytes)


if __name__ == "__main__":
    main()
