"""`python -m runtime.acceleration MODEL`: what would serve this model, why, and how fast.

Prints the lint, the parity table and the speed table of any XGBoost model file, or of each fold of
a folder. Exits 0 when oneDAL would serve it, 3 when XGBoost would, 1 when it cannot be read.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

import settings
from runtime import acceleration
from runtime.acceleration import tuning
from runtime.acceleration.rounds import Rounds
from runtime.job import artifact
from runtime.job.failures import UserError
from settings import SettingError


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m runtime.acceleration", description=__doc__)
    parser.add_argument("model", type=Path, help="a model file, or a folder of training")
    parser.add_argument("--missing", type=float, help="value that means missing besides NaN")
    parser.add_argument("--probe", type=Path, help="rows to compare on: a float32 .npy matrix")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(arguments)
    logging.basicConfig(level=logging.ERROR)
    acceleration.single_thread()
    code = 0
    try:
        for model in model_files(options.model):
            choice = judge(model, options)
            report = choice.report
            print(json.dumps(report, indent=2) if options.json else render(model, report))
            code = 3 if choice.engine is choice.reference else code
    except (UserError, SettingError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return code


def model_files(path: Path) -> list[Path]:
    """Return the model file of a folder, or its folds; a file as it is."""
    if not path.is_dir():
        return [path]
    model = path / artifact.MODEL_FILE
    return [model] if model.exists() else sorted(path.glob(f"{model.name}-*")) or [model]


def judge(model: Path, options: argparse.Namespace) -> acceleration.Choice:
    """Return the engine that would serve a model file, and why."""
    import numpy as np

    beside = model.parent / artifact.PROBE_FILE
    probe = options.probe or (beside if beside.is_file() else None)
    missing = options.missing
    if missing is None:
        missing = artifact.read_manifest(model.parent).missing
    return acceleration.choose(
        acceleration.load_booster(model),
        missing=missing,
        probe_rows=np.load(probe, allow_pickle=False) if probe else None,
        best_iteration=settings.load().best_iteration,
        measure=True,
    )


def render(model: Path, report: dict[str, Any]) -> str:
    """Return the report as text for people."""
    lines = [
        f"model: {model}",
        f"objective: {report['objective']}, {report['features']} features, "
        f"{report['groups']} outputs, {report.get('trees', 0)} trees",
        "answering: " + str(Rounds(**report["rounds"])),
        "versions: " + ", ".join(f"{name} {value}" for name, value in report["versions"].items()),
        *(f"lint: {sentence}" for sentence in report.get("lint") or ["nothing against oneDAL"]),
        *(f"rehearsed in a process of its own: {risk}" for risk in report.get("rehearsed", [])),
    ]
    if "parity" in report:
        header = ("case", "rows", "margin", "prediction", "ok")
        lines += ["", "largest difference from Booster.predict:"]
        lines += _table(header, [[_cell(row[key]) for key in header] for row in report["parity"]])
    if "speed" in report:
        lines += ["", "microseconds a call, one thread, timed in turn:"]
        lines += _table(
            ("rows", "oneDAL", "XGBoost", "times as fast"),
            [[_cell(value) for value in row.values()] for row in report["speed"]],
        )
    if "contributions" in report:
        found = report["contributions"]
        lines += ["", f"contributions: {found['engine']}: {found['reason']}"]
    if found := report.get("calls"):
        lines += ["", tuning.sentence(found)]
    return "\n".join([*lines, "", f"engine: {report['engine']}: {report['reason']}"])


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.3g}" if isinstance(value, float) and value < 1 else str(value)


def _table(header: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in [list(header), *rows]) for i in range(len(header))]
    align = [str.ljust] + [str.rjust] * (len(header) - 1)
    return [
        "  "
        + "  ".join(put(text, width) for put, text, width in zip(align, row, widths, strict=True))
        for row in [list(header), *rows]
    ]


if __name__ == "__main__":
    sys.exit(main())
