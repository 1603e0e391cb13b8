"""This project's own speed, in paired runs that anyone can repeat: `python -m benchmarks`."""

import os
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "{{cookiecutter.project_slug}}"

# The tree is measured as it is, unrendered: these stand in for the answers.
os.environ.setdefault("NUM_CLASSES", "2")
os.environ.setdefault("INPUT_FORMAT", "csv")
sys.path[:0] = [str(PROJECT / "program"), str(PROJECT)]
