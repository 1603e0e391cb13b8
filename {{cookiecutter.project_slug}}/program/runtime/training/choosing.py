"""The engine of a saved model, chosen by a process of its own: out of training's harm, and with
one thread, as in serving.

The process is forked before training reads data and starts threads. So it shares what is imported
by then, which a new one would spend longer on than on the choice, and waits for the model.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from traceback import format_exception_only

import numpy as np
import xgboost

from runtime import acceleration
from runtime.job import artifact

SECONDS = 600


class Chooser:
    """The waiting process. It ends after one choice, or when the context is left."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_wait, args=(other, self._connection))
        self._process.start()
        other.close()

    def __enter__(self) -> Chooser:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.join()

    def choose(self, folder: Path, mode: str, missing: float | None) -> str:
        """Choose the engine of the model in `folder`, and write parity.json beside it.

        Returns why there is none; nothing when all went well.
        """
        try:
            self._connection.send((folder, mode, missing))
            if self._connection.poll(SECONDS):
                return str(self._connection.recv())
        except (OSError, EOFError):
            self._process.join()
            return _end(self._process.exitcode or 0)
        self._process.kill()
        return f"the parity check gave no answer within {SECONDS} s"


def _end(code: int) -> str:
    how = f"with exit code {code}" if code >= 0 else f"by signal {signal.Signals(-code).name}"
    return f"the process of the parity check ended {how}"


def _wait(connection: Connection, other: Connection) -> None:
    """Do the process's work: one choice, or none if the connection is closed before."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    other.close()  # or its end would never be seen here
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nothing, stream)
    try:
        order = connection.recv()
    except EOFError:
        return
    try:
        _choose(*order)
    except Exception as error:
        connection.send(format_exception_only(error)[-1].strip())
    else:
        connection.send("")


def _choose(folder: Path, mode: str, missing: float | None) -> None:
    """Choose the engine and write parity.json. Raises what `acceleration.choose` raises."""
    acceleration.single_thread()
    xgboost.set_config(nthread=1)  # XGBoost was imported before: too late for the environment
    booster = acceleration.load_booster(folder / artifact.MODEL_FILE)
    rows = np.load(folder / artifact.PROBE_FILE, allow_pickle=False)
    choice = acceleration.choose(booster, mode=mode, missing=missing, probe_rows=rows, measure=True)
    text = json.dumps(choice.report, indent=2) + "\n"
    (folder / artifact.PARITY_FILE).write_text(text, encoding="utf-8")
