"""Where the project under test is: the unrendered tree, or the one that PROJECT_FOLDER names."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = Path(os.environ.get("PROJECT_FOLDER") or ROOT / "{{cookiecutter.project_slug}}")
PROGRAM = PROJECT / "program"

# The answers that stand in for those of a rendering where there are none.
if PROJECT.parent == ROOT:
    os.environ.setdefault("NUM_CLASSES", "2")
    os.environ.setdefault("INPUT_FORMAT", "csv")
# Programs that tests start find the same code as the tests.
os.environ["PYTHONPATH"] = os.pathsep.join([str(PROGRAM), str(PROJECT), str(ROOT)])
sys.path[:0] = [str(PROGRAM), str(PROJECT), str(ROOT)]
