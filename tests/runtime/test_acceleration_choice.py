"""When oneDAL is used, when XGBoost is, and how the difference is made known."""

from __future__ import annotations

import importlib.util
import json
import logging
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from acceleration_models import Recipe, train
from locations import PROGRAM
from runtime import acceleration
from runtime.acceleration import __main__ as command
from runtime.acceleration import conversion, isolation
from runtime.acceleration.shadow import QUEUE

BINARY = Recipe("", {"objective": "binary:logistic"}, "binary", rounds=50)
LINEAR = Recipe("", {"booster": "gblinear"})
RANKING = Recipe("", {"objective": "rank:ndcg"}, "grade")
NEEDS_ONEDAL = pytest.mark.skipif(
    importlib.util.find_spec("daal4py") is None, reason="oneDAL is for x86-64 only"
)


def test_off_means_xgboost_and_no_conversion(caplog: pytest.LogCaptureFixture) -> None:
    booster, rows = train(BINARY)
    with caplog.at_level(logging.INFO):
        choice = acceleration.choose(booster, mode="off")
    assert (choice.engine.name, choice.reason) == ("xgboost", "ACCELERATION=off")
    assert "converted" not in caplog.text
    np.testing.assert_array_equal(
        choice.engine.predict(rows), booster.predict(xgboost.DMatrix(rows))
    )


def test_auto_falls_back_with_a_warning_and_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    choice = acceleration.choose(train(LINEAR)[0])
    assert choice.engine.name == "xgboost"
    assert choice.reason == choice.report["reason"]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"predicting through xgboost: {choice.reason}"]


def test_require_turns_the_fall_back_into_an_error_with_the_same_reason() -> None:
    booster, _ = train(LINEAR)
    reason = acceleration.choose(booster).reason
    with pytest.raises(acceleration.AccelerationError) as caught:
        acceleration.choose(booster, mode="require")
    assert str(caught.value) == f"ACCELERATION=require, but {reason}"


@NEEDS_ONEDAL
def test_require_is_met_by_a_model_that_onedal_can_serve() -> None:
    assert acceleration.choose(train(BINARY)[0], mode="require").engine.name == "onedal"


def test_another_machine_is_a_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    choice = acceleration.choose(train(BINARY)[0])
    assert choice.engine.name == "xgboost"
    assert "this machine is aarch64" in choice.reason


@pytest.mark.parametrize("how", ["absent", "broken"])
def test_a_missing_or_broken_daal4py_is_a_fall_back(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "absent":
        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name == "daal4py" else find(name)
        )
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "daal4py", None)  # importing it raises ImportError
    choice = acceleration.choose(train(BINARY)[0])
    assert choice.engine.name == "xgboost"
    assert "daal4py" in choice.reason


@NEEDS_ONEDAL
def test_only_risky_models_are_rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[xgboost.Booster] = []
    monkeypatch.setattr(isolation, "rehearse", lambda booster: seen.append(booster) or "")
    assert acceleration.choose(train(BINARY)[0]).report["rehearsed"] == []
    assert seen == []
    assert acceleration.choose(train(RANKING)[0]).report["rehearsed"] == ["a ranking objective"]
    assert len(seen) == 1


@NEEDS_ONEDAL
def test_a_rehearsal_of_a_sound_model_finds_nothing() -> None:
    assert isolation.rehearse(train(RANKING)[0]) == ""


@NEEDS_ONEDAL
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import os; os.abort()", "died of SIGABRT"),
        ("import os; os.kill(os.getpid(), 11)", "died of SIGSEGV"),
        ("import time; time.sleep(60)", "did not end within"),
        ("raise SystemExit('no such thing')", "failed in its rehearsal: no such thing"),
    ],
)
def test_a_conversion_that_aborts_or_hangs_does_so_in_its_rehearsal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, words: str
) -> None:
    package = tmp_path / "runtime" / "acceleration"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "isolation.py").write_text(body)
    monkeypatch.setattr(isolation, "PROGRAM", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(isolation.rehearse, "__defaults__", (3.0,))
    choice = acceleration.choose(train(RANKING)[0])
    assert choice.engine.name == "xgboost"
    assert words in choice.reason


@NEEDS_ONEDAL
def test_each_conversion_is_counted_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    before = conversion._conversions
    with caplog.at_level(logging.INFO):
        engine = acceleration.choose(train(BINARY)[0]).engine
        for _ in range(50):
            engine.predict(np.zeros((1, 6), np.float32))
    lines = [record.getMessage() for record in caplog.records]
    counted = [line for line in lines if line.startswith("converted the model to oneDAL")]
    assert len(counted) == 1
    assert f"(conversion {before + 1} in this process tree, " in counted[0]


def test_the_shadow_check_counts_and_logs_what_differs(caplog: pytest.LogCaptureFixture) -> None:
    booster, rows = train(BINARY)
    choice = acceleration.choose(booster)
    checker = acceleration.ShadowChecker(choice.reference, 1.0, 1e-6)
    right = choice.engine.predict(rows)
    checker.offer(rows, right)
    checker.offer(rows[:10], right[:10] + np.float32(0.01))
    checker.drain()
    counts = checker.counts
    assert (counts.checked, counts.rows, counts.different, counts.failed) == (2, 410, 1, 0)
    assert counts.largest == pytest.approx(0.01, rel=1e-3)
    assert [r.levelname for r in caplog.records if "shadow check: a request of 10" in r.message]


def test_the_shadow_check_survives_its_own_faults_and_never_blocks() -> None:
    booster, rows = train(BINARY)
    reference = acceleration.choose(booster, mode="off").reference
    checker = acceleration.ShadowChecker(reference, 1.0, 1e-6)
    checker.offer(rows[:, :3], np.zeros(len(rows), np.float32))
    checker.drain()
    assert checker.counts.failed == 1
    stuck = acceleration.ShadowChecker(reference, 1.0, 1e-6)
    stuck._thread = checker._thread  # no thread takes from this one's queue
    for _ in range(QUEUE + 5):
        stuck.offer(rows, rows[:, 0])
    assert stuck.counts.dropped == 5


def test_the_shadow_check_draws_its_share_and_starts_no_thread_for_nothing() -> None:
    booster, rows = train(BINARY)
    reference = acceleration.choose(booster, mode="off").reference
    never = acceleration.ShadowChecker(reference, 0.0, 1e-6)
    some = acceleration.ShadowChecker(reference, 0.3, 1e-6)
    for _ in range(300):
        never.offer(rows[:1], rows[:1, 0])
        some.offer(rows[:1], rows[:1, 0])
    some.drain()
    assert never._thread is None
    assert never.counts.checked == 0
    assert 50 < some.counts.checked + some.counts.dropped < 130


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person would."""
    line = [sys.executable, "-m", "runtime.acceleration", *arguments]
    return subprocess.run(line, cwd=PROGRAM, capture_output=True, text=True, timeout=120)


@NEEDS_ONEDAL
def test_the_command_prints_lint_parity_and_speed(tmp_path: Path) -> None:
    booster, _ = train(BINARY)
    booster.save_model(tmp_path / "xgboost-model")
    shown = run(str(tmp_path))  # a folder, as training writes it
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert "lint: nothing against oneDAL" in lines
    assert "engine: onedal: oneDAL gives XGBoost's answers on every probe" in lines
    table = lines[lines.index("microseconds a call, one thread, timed in turn:") + 1 :]
    assert [line.split()[0] for line in table[:4]] == ["rows", "1", "32", "1000"]
    report = json.loads(run(str(tmp_path / "xgboost-model"), "--json").stdout)
    assert report["engine"] == "onedal"


def test_the_command_says_why_xgboost_would_serve(
    tmp_path: Path, capsys: pytest.CaptureFixture[Any]
) -> None:
    train(LINEAR)[0].save_model(tmp_path / "m.json")
    assert command.main([str(tmp_path / "m.json")]) == 3
    assert "lint: the model is linear" in capsys.readouterr().out


def test_the_command_judges_every_fold_of_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[Any]
) -> None:
    for number, recipe in enumerate((BINARY, LINEAR)):
        train(recipe)[0].save_model(tmp_path / "m.ubj")
        (tmp_path / "m.ubj").rename(tmp_path / f"xgboost-model-{number}")
    assert command.main([str(tmp_path)]) == 3
    shown = capsys.readouterr().out.splitlines()
    models = [line for line in shown if line.startswith("model: ")]
    assert models == [f"model: {tmp_path}/xgboost-model-{number}" for number in (0, 1)]


@pytest.mark.parametrize("cause", ["manifest", "setting"])
def test_the_command_reports_what_else_it_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[Any], cause: str
) -> None:
    train(BINARY)[0].save_model(tmp_path / "m.ubj")
    if cause == "manifest":
        (tmp_path / "manifest.json").write_text("{")
    else:
        monkeypatch.setenv("BEST_ITERATION", "maybe")
    assert command.main([str(tmp_path / "m.ubj")]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_the_command_reports_a_file_that_is_not_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[Any]
) -> None:
    (tmp_path / "m").touch()
    assert command.main([str(tmp_path / "m")]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert "empty file" in shown.err
