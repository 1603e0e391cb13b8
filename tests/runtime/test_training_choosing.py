"""The process that chooses an engine for a new model: whatever happens to it, the job goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from runtime.job.resources import alive
from runtime.training import choosing


def die(*order: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(*order: object) -> None:
    raise ValueError(f"cannot choose for {order}")


def hang(*order: object) -> None:
    Event().wait()


@pytest.mark.parametrize(
    ("does", "told"),
    [
        pytest.param(die, "the process of the parity check ended by signal SIGKILL", id="killed"),
        pytest.param(lambda *_: os._exit(7), "ended with exit code 7", id="exit"),
        pytest.param(
            fail, "ValueError: cannot choose for (PosixPath('m'), 'auto', -1.0)", id="fail"
        ),
        pytest.param(hang, "the parity check gave no answer within 0.3 s", id="hang"),
        pytest.param(lambda *_: None, "", id="nothing"),
    ],
)
def test_the_end_of_the_process_is_told(
    monkeypatch: pytest.MonkeyPatch, does: Callable[..., None], told: str
) -> None:
    monkeypatch.setattr(choosing, "_choose", does)
    if does is hang:
        monkeypatch.setattr(choosing, "SECONDS", 0.3)
    with choosing.Chooser() as chooser:
        found = chooser.choose(Path("m"), "auto", -1.0)
    assert found.endswith(told)
    assert bool(found) == bool(told)


def test_without_a_choice_the_process_ends_with_the_context() -> None:
    with choosing.Chooser() as chooser:
        pid = chooser._process.pid
        assert pid
        assert alive(pid)
    assert not alive(pid)
