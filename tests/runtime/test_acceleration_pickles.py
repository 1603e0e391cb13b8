"""A pickle gives XGBoost's model and nothing else: nothing that it names is imported or called."""

from __future__ import annotations

import copyreg
import pickle
import struct
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import xgboost
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from acceleration_models import Recipe, train
from runtime import acceleration
from runtime.acceleration import boosters, pickles

MARK = "harmed"
TOUCH = f"open({MARK!r}, 'w').close()"


def refusal(path: Path, data: bytes, **options: bool) -> str:
    """Return the message that loading the pickle `data` ends with."""
    path.write_bytes(data)
    with pytest.raises(acceleration.ModelFileError) as caught:
        acceleration.load_booster(path, **{"allow_pickle": True, **options})
    message = str(caught.value)
    assert message.startswith(f"{path}: found a ")
    assert "\n" not in message
    return message


def text(value: str) -> bytes:
    """Return the opcode of a text."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def named(module: str, name: str) -> bytes:
    """Return the opcodes that put a global on the stack."""
    return text(module) + text(name) + b"\x93"


class Reduced:
    """A pickle of this calls a function when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def exec_through(callable_: bytes) -> bytes:
    """Return a pickle that calls what the opcodes put on the stack, with a program to run."""
    return b"\x80\x04" + callable_ + text(TOUCH) + b"\x85R."


ATTACKS = {
    "reduce": pickle.dumps(Reduced(exec, TOUCH)),
    "reduce, protocol 2": pickle.dumps(Reduced(exec, TOUCH), 2),
    "stack global": exec_through(named("builtins", "exec")),
    "dotted name": exec_through(named("xgboost.core", "os.system")),
    "dotted name of a class": exec_through(named("xgboost.core", "Booster.__init__.__globals__")),
    "module below xgboost": exec_through(named("xgboost.os", "system")),
    "global": b"\x80\x02cbuiltins\nexec\n" + text(TOUCH) + b"\x85R.",
    "inst": b"\x80\x02(" + text(TOUCH) + b"ibuiltins\nexec\n.",
    "obj": b"\x80\x02(cbuiltins\nexec\n" + text(TOUCH) + b"o.",
    "new object": b"\x80\x04" + named("builtins", "exec") + text(TOUCH) + b"\x85\x81.",
    "new object with names": (
        b"\x80\x04" + named("builtins", "exec") + text(TOUCH) + b"\x85}\x92."
    ),
    "getattr": exec_through(
        named("builtins", "getattr") + named("os", "path") + text("os") + b"\x86R"
    ),
    "build calls set state": (
        b"\x80\x04" + named("xgboost.core", "Booster") + b"}" + text("__setstate__")
        + named("os", "system") + b"sb" + text(TOUCH) + b"b."
    ),
    "build on a class": b"\x80\x04" + named("xgboost.core", "Booster") + text(TOUCH) + b"b.",
    "state of slots": (
        b"\x80\x04" + named("xgboost.core", "Booster") + b")\x81N}" + text("__class__")
        + named("os", "system") + b"s\x86b."
    ),
    "append": (
        b"\x80\x04" + named("xgboost.core", "Booster") + b")\x81" + named("os", "system") + b"a."
    ),
    "a number of bytes": exec_through(named("builtins", "bytearray")).replace(
        text(TOUCH), b"\x8a\x06\x00\x00\x00\x00\x00\x01"
    ),
    "many bytes": b"\x80\x05\x96" + struct.pack("<Q", 1 << 50) + b".",
    "persistent id": b"\x80\x04" + text("file") + b"Q.",
    "extension code": b"\x80\x02\x82\x07.",
    "empty": b"\x80\x04",
    "a dictionary": pickle.dumps({"learner": 1}),
    "line breaks in a name": exec_through(named("a\nb", "c\x00d\u2028")),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _extension() -> Iterator[None]:
    """Register a code that stands for a function, as a program may."""
    copyreg.add_extension("builtins", "exec", 7)
    yield
    copyreg.remove_extension("builtins", "exec", 7)


@pytest.mark.parametrize("name", ATTACKS)
def test_no_pickle_runs_anything(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    called: list[Any] = []
    monkeypatch.setattr("os.system", called.append)
    refusal(tmp_path / "m", ATTACKS[name])
    assert not called
    assert not (tmp_path / MARK).exists()


def test_the_attacks_do_harm_to_who_unpickles_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    called: list[Any] = []
    monkeypatch.setattr("os.system", called.append)
    for name in ("reduce", "stack global", "global", "inst"):
        pickle.loads(ATTACKS[name])
        assert (tmp_path / MARK).exists()
        (tmp_path / MARK).unlink()
    pickle.loads(ATTACKS["dotted name"])
    assert called == [TOUCH]


def test_no_module_is_imported_and_no_attribute_is_looked_up() -> None:
    unpickler = pickles._Unpickler
    for module, name in (("antigravity", "x"), ("xgboost.core", "Booster"), ("a" * 9, "b.c")):
        found = unpickler.find_class(object(), module, name)  # type: ignore[arg-type]
        assert found.origin == (module, name)
        assert issubclass(found, pickles._Inert)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_booster_answers_after_an_opt_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    booster, rows = train(Recipe("", {"objective": "binary:logistic"}, "binary"))
    path = tmp_path / "m"
    message = refusal(path, pickle.dumps(booster, protocol), allow_pickle=False)
    assert "set ALLOW_PICKLE=true" in message
    monkeypatch.setenv("ALLOW_PICKLE", "true")
    loaded = acceleration.load_booster(path)
    matrix = xgboost.DMatrix(rows)
    np.testing.assert_array_equal(loaded.predict(matrix), booster.predict(matrix))


def fitted(**options: Any) -> tuple[xgboost.XGBClassifier, np.ndarray]:
    """Return a classifier that saw an eval_set, which it keeps in an OrderedDict; and its rows."""
    rows = np.random.default_rng(0).normal(size=(120, 4))
    model = xgboost.XGBClassifier(n_estimators=4, max_depth=2, n_jobs=1, **options)
    model.fit(rows, rows[:, 0] > 0, eval_set=[(rows, rows[:, 1] > 0)], verbose=False)
    assert isinstance(next(iter(model.evals_result().values())), OrderedDict)
    return model, rows


def test_a_pickled_estimator_answers_with_its_model_and_its_missing_value(tmp_path: Path) -> None:
    model, rows = fitted(missing=-999.0, early_stopping_rounds=1, eval_metric="logloss")
    rows[::3, 0] = -999.0
    (tmp_path / "m").write_bytes(pickle.dumps(model))
    loaded = acceleration.load_booster(tmp_path / "m", allow_pickle=True)
    assert boosters.missing_value(loaded) == -999.0
    choice = acceleration.choose(loaded)
    assert choice.rounds.used == model.best_iteration + 1 < choice.rounds.total
    answer = choice.engine.predict(rows.astype(np.float32))
    np.testing.assert_allclose(answer, model.predict_proba(rows)[:, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: xgboost.XGBClassifier(), "of an estimator that was never fitted"),
        (lambda: fitted(missing=np.float32(-1))[0], "manifest.json"),
        (
            lambda: make_pipeline(StandardScaler(), xgboost.XGBClassifier()),
            "of 'sklearn.pipeline.Pipeline', not of XGBoost",
        ),
        (dict, "of 'builtins.dict', not of XGBoost"),
        (lambda: xgboost.DMatrix, "of "),
    ],
    ids=["unfitted", "missing is of numpy", "pipeline", "dict", "class"],
)
def test_other_pickles_are_named_with_what_to_do(tmp_path: Path, make: Any, words: str) -> None:
    message = refusal(tmp_path / "m", pickle.dumps(make()))
    assert words in message
    assert "save_model" in message


@pytest.mark.parametrize("compress", [0, 3])
def test_a_joblib_file_is_read_or_refused_with_what_to_do(tmp_path: Path, compress: int) -> None:
    model, rows = fitted()
    model.extra = np.arange(5)  # joblib writes arrays as they are, between the opcodes
    joblib.dump(model, tmp_path / "m", compress=compress)
    message = refusal(tmp_path / "m", (tmp_path / "m").read_bytes())
    assert "joblib" in message
    assert "get_booster().save_model" in message
    del model.extra
    if not compress:
        joblib.dump(model, tmp_path / "m")
        loaded = acceleration.load_booster(tmp_path / "m", allow_pickle=True)
        answer = loaded.predict(xgboost.DMatrix(rows))
        np.testing.assert_array_equal(answer, model.predict_proba(rows)[:, 1])


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_pickle_is_refused(tmp_path: Path, share: float) -> None:
    data = pickle.dumps(train(Recipe("", {}))[0])
    assert "cannot be read" in refusal(tmp_path / "m", data[: int(len(data) * share)])


class Damaged:
    """Pickled as a Booster with other bytes in the place of the model."""

    def __init__(self, buffer: bytes) -> None:
        self.buffer = buffer

    def __reduce__(self) -> Any:
        return xgboost.Booster, (), {"handle": bytearray(self.buffer)}


@pytest.mark.parametrize("buffer", [b"{L", b"{L\x00}", b"junk", b""])
def test_damaged_bytes_inside_a_pickle_are_refused(tmp_path: Path, buffer: bytes) -> None:
    assert "save_model" in refusal(tmp_path / "m", pickle.dumps(Damaged(buffer)))
