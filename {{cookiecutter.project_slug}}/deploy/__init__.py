"""From this folder to AWS and back: run `python -m deploy --help` at the project's root."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "program"))  # for settings.py, which needs the standard library only
