"""A damaged model file is refused in words; it never ends the process or makes it hang."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acceleration_models import DART, VARIANTS, Recipe, train
from locations import PROGRAM
from runtime import acceleration
from runtime.acceleration import soundness, ubjson

FIVE = {"objective": "multi:softprob", "num_class": 5, **DART}
CATEGORIES = next(recipe for recipe in VARIANTS if recipe.name == "categorical")
VECTORS = next(recipe for recipe in VARIANTS if recipe.name == "vector leaves")
LINEAR = Recipe("", {"booster": "gblinear"})

# Loads damaged copies of a model: a segmentation fault would end it, and show as its exit status.
LOADER = """
import random, sys
from pathlib import Path
from runtime import acceleration
acceleration.single_thread()
import numpy as np, xgboost
xgboost.set_config(verbosity=0)
path = Path(sys.argv[1])
sound, source = path.read_bytes(), random.Random(7)
for _ in range(300):
    data = bytearray(sound)
    for _ in range(source.choice((1, 1, 2, 4))):
        place = source.randrange(len(data))
        if source.random() < 0.6:
            data[place] = source.randrange(256)
        else:
            del data[place : place + source.randrange(1, 20)]
    path.write_bytes(data)
    try:
        booster = acceleration.load_booster(path, allow_pickle=True)
    except acceleration.ModelFileError:
        print("refused")
        continue
    engine = acceleration.choose(booster, mode="off", best_iteration=False).engine
    engine.predict(np.zeros((2, engine.num_features), np.float32))
    print("answered")
"""


@pytest.mark.parametrize("form", ["ubj", "pickle"])
def test_wrong_bytes_never_end_the_process(tmp_path: Path, form: str) -> None:
    booster, _ = train(Recipe("", FIVE, "five", rounds=3))
    state = booster.__getstate__()
    if form == "ubj":
        data = bytes(booster.save_raw("ubj"))
    else:
        data = b"\x80\x04\x8c\x0cxgboost.core\x8c\x07Booster\x93)\x81}\x8c\x06handle"
        data += b"\x96" + len(state["handle"]).to_bytes(8, "little") + state["handle"] + b"sb."
    (tmp_path / "m").write_bytes(data)
    acceleration.load_booster(tmp_path / "m", allow_pickle=True)
    command = [sys.executable, "-W", "ignore", "-c", LOADER, str(tmp_path / "m")]
    child = subprocess.run(command, cwd=PROGRAM, capture_output=True, text=True, timeout=300)
    assert child.returncode == 0, child.stderr[-500:]
    outcomes = child.stdout.split()
    assert len(outcomes) == 300
    assert outcomes.count("refused") > 200


def trees(model: dict[str, Any]) -> list[dict[str, Any]]:
    gradient = model["learner"]["gradient_booster"]
    return gradient.get("gbtree", gradient)["model"]["trees"]


def put(name: str, place: int, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return a change of one number of the first tree."""
    return lambda model: trees(model)[0][name].__setitem__(place, value)


def circle(model: dict[str, Any]) -> None:
    """Let a node lead to its own parent, and that know it."""
    tree = trees(model)[0]
    inner = next(i for i in tree["left_children"] if tree["left_children"][i] > 0)
    tree["left_children"][inner], tree["parents"][inner] = inner, inner


DAMAGES: dict[str, tuple[Recipe, Callable[[dict[str, Any]], None], str]] = {
    "child beyond": (Recipe("", {}), put("left_children", 0, 10_000), "the children"),
    "child before": (Recipe("", {}), put("right_children", 0, -7), "the children"),
    "child is the root": (Recipe("", {}), put("right_children", 0, 0), "the children"),
    "circle": (Recipe("", {}), circle, "the "),
    "parent": (Recipe("", {}), put("parents", 1, 5), "the parents"),
    "parent beyond": (Recipe("", {}), put("parents", 1, 1 << 20), "parents"),
    "column beyond": (Recipe("", {}), put("split_indices", 0, 6), "split_indices"),
    "node too few": (
        Recipe("", {}),
        lambda model: trees(model)[0]["parents"].pop(),
        "the number of nodes",
    ),
    "category beyond": (
        CATEGORIES,
        lambda model: next(t for t in trees(model) if t["categories"])[
            "categories_sizes"
        ].__setitem__(0, 99),
        "the categories",
    ),
    "vector beyond": (
        VECTORS,
        lambda model: trees(model)[0]["right_children"].__setitem__(-1, 999),
        "leaf_weights",
    ),
}


def in_ubjson(model: dict[str, Any]) -> bytes:
    """Return a model in UBJSON, written without XGBoost; numbers as numbers of eight bytes."""

    def write(value: Any) -> bytes:
        if isinstance(value, dict):
            pairs = (length(key) + write(item) for key, item in value.items())
            return b"{" + b"".join(pairs) + b"}"
        if isinstance(value, list):
            return b"[" + b"".join(map(write, value)) + b"]"
        if isinstance(value, str):
            return b"S" + length(value)
        kind, form = ("d", ">f4") if isinstance(value, float) else ("L", ">i8")
        return kind.encode() + np.array(value, form).tobytes()

    def length(text: str) -> bytes:
        return b"L" + np.array(len(text.encode()), ">i8").tobytes() + text.encode()

    return write(model)


@pytest.mark.parametrize("name", DAMAGES)
def test_what_does_not_fit_is_named(name: str) -> None:
    recipe, damage, words = DAMAGES[name]
    model = json.loads(bytes(train(recipe)[0].save_raw("json")))
    soundness.check(in_ubjson(model))
    damage(model)
    with pytest.raises(ValueError, match=rf"^tree \d+: {words}.* cannot be right$"):
        soundness.check(in_ubjson(model))


def test_json_is_checked_as_well(tmp_path: Path) -> None:
    model = json.loads(bytes(train(Recipe("", {}))[0].save_raw("json")))
    trees(model)[0]["split_indices"][0] = 6
    (tmp_path / "m").write_text(json.dumps(model))
    with pytest.raises(acceleration.ModelFileError, match="split_indices cannot be right"):
        acceleration.load_booster(tmp_path / "m")


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"[", b"[$", b"[$S#i\x01", b"[$d#", b"[$d#i\x02\x00\x00\x00\x00", b"Si\xff"),
        *(b"i\x01i\x01", b"[#i\xff", b"x", b"[" * 100, b"[#L" + b"\x7f" * 8, b"Sd\x00\x00\x00\x00"),
    ],
)
def test_what_is_not_ubjson_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        ubjson.read(data)


def test_every_form_of_ubjson_is_read() -> None:
    data = b"{i\x01a[$l#i\x02" + bytes([0, 0, 0, 5, 255, 255, 255, 255]) + b"i\x01b[TFZ]"
    found = ubjson.read(data + b"i\x01cSU\x02hii\x01d[#i\x02I\x01\x00D" + bytes(8) + b"}")
    assert found.pop("a").tolist() == [5, -1]
    assert found == {"b": [True, False, None], "c": "hi", "d": [256, 0.0]}


def test_a_linear_model_is_checked_by_its_weights() -> None:
    model = json.loads(bytes(train(LINEAR)[0].save_raw("json")))
    soundness.check(in_ubjson(model))
    model["learner"]["gradient_booster"]["model"]["weights"].pop()
    with pytest.raises(ValueError, match="the weights cannot be right"):
        soundness.check(in_ubjson(model))
