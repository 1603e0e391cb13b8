"""Whether what a model file holds fits together, asked before XGBoost believes it.

XGBoost checks neither the lengths in a UBJSON file nor where the nodes of its trees point: a wrong
byte, of a bad transfer or a hostile hand, ends the process with a segmentation fault, or makes it
walk a tree for ever.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.acceleration import ubjson
from runtime.acceleration.document import weight_drop

Ints = NDArray[np.int64]

NO_PARENT = 2**31 - 1
PER_NODE = (
    *("default_left", "parents", "right_children", "split_conditions", "split_indices"),
    "sum_hessian",
)


def check(data: bytes | bytearray) -> None:
    """Check a model in UBJSON, or one that was serialised with its configuration.

    Raises ValueError that says what does not fit.
    """
    document = ubjson.read(data)
    try:
        learner = document.get("Model", document)["learner"]
        gradient, parameters = learner["gradient_booster"], learner["learner_model_param"]
        features = int(parameters["num_feature"])
        groups = max(int(parameters["num_class"]), int(parameters.get("num_target", 1)), 1)
        model = gradient.get("gbtree", gradient)["model"]
        if gradient["name"] == "gblinear":
            _demand(len(model["weights"]) in (0, (features + 1) * groups), "the weights")
            return
        trees, info = model["trees"], np.asarray(model["tree_info"], np.int64)
        count = len(trees)
        _demand(int(model["gbtree_model_param"]["num_trees"]) == count == len(info), "num_trees")
        _demand(_within(info, 0, groups), "tree_info")
        _demand(len(weight_drop(gradient) or trees) == count, "weight_drop")
        rounds = np.asarray(model.get("iteration_indptr", [0, count]), np.int64)
        ends = (int(rounds[0]), int(rounds[-1])) if len(rounds) else (0, count)
        _demand(ends == (0, count) and (np.diff(rounds) >= 0).all(), "iteration_indptr")
        for number, tree in enumerate(trees):
            _check_tree(tree, features, f"tree {number}: ")
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"something is missing: {type(error).__name__} {error}") from None


def _check_tree(tree: dict[str, Any], features: int, place: str) -> None:
    """Check that every node that the root leads to exists, and is led to once."""
    left = np.asarray(tree["left_children"], np.int64)
    right = np.asarray(tree["right_children"], np.int64)
    parents = np.asarray(tree["parents"], np.int64)
    column = np.asarray(tree["split_indices"], np.int64)
    count = len(left)
    _demand(count > 0 and int(tree["tree_param"]["num_nodes"]) == count, f"{place}num_nodes")
    _demand(all(len(tree[name]) == count for name in PER_NODE), f"{place}the number of nodes")
    _check_categories(tree, count, place)
    _demand(_within(parents[(parents != -1) & (parents != NO_PARENT)], 0, count), f"{place}parents")
    level, seen = np.zeros(1, np.int64), 1
    while len(level := level[left[level] != -1]):
        _demand(_within(column[level], 0, features), f"{place}split_indices")
        above, level = np.tile(level, 2), np.concatenate([left[level], right[level]])
        _demand(_within(level, 1, count), f"{place}the children")
        _demand(np.array_equal(parents[level], above), f"{place}the parents")
        seen += len(level)
        _demand(seen <= count, f"{place}the children, in a circle")
    if (outputs := int(tree["tree_param"]["size_leaf_vector"])) > 1:
        vectors = len(tree.get("leaf_weights", ())) // outputs
        _demand(_within(right[left == -1], -1, max(vectors, 1)), f"{place}leaf_weights")


def _check_categories(tree: dict[str, Any], nodes: int, place: str) -> None:
    codes = np.asarray(tree.get("categories", ()), np.int64)
    parts = ("categories_nodes", "categories_segments", "categories_sizes")
    at, start, size = (np.asarray(tree.get(name, ()), np.int64) for name in parts)
    fits = len(at) == len(start) == len(size) and _within(at, 0, nodes)
    fits = fits and _within(size, 0, len(codes) + 1) and _within(start, 0, len(codes) + 1)
    fits = fits and bool((start + size <= len(codes)).all()) and _within(codes, 0, 1 << 24)
    _demand(fits, f"{place}the categories")


def _within(values: Ints, low: int, high: int) -> bool:
    return bool(((values >= low) & (values < high)).all())


def _demand(fits: object, what: str) -> None:
    if not fits:
        raise ValueError(f"{what} cannot be right")
