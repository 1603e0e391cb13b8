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
TREES = 512  # that are walked side by side
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
        for first in range(0, count, TREES):
            _check_trees(trees[first : first + TREES], features, first)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"something is missing: {type(error).__name__} {error}") from None


def _check_trees(trees: list[dict[str, Any]], features: int, first: int) -> None:
    """Check some trees, of which `first` is the number of the first one."""
    for number, tree in enumerate(trees, first):
        count, place = len(tree["left_children"]), f"tree {number}: "
        _demand(count > 0 and int(tree["tree_param"]["num_nodes"]) == count, f"{place}num_nodes")
        _demand(all(len(tree[name]) == count for name in PER_NODE), f"{place}the number of nodes")
        _check_categories(tree, count, place)
        if (outputs := int(tree["tree_param"]["size_leaf_vector"])) > 1:
            left, right = _nodes(tree, "left_children"), _nodes(tree, "right_children")
            vectors = len(tree.get("leaf_weights", ())) // outputs
            fits = _within(right[left == -1], -1, max(vectors, 1))
            _demand(fits, f"{place}leaf_weights")
    _walk(trees, features, first)


def _walk(trees: list[dict[str, Any]], features: int, first: int) -> None:
    """Check that every node that a root leads to exists, and is led to once: a level at a time, of
    all trees together."""
    names = ("left_children", "right_children", "parents", "split_indices")
    left, right, parents, column = (
        np.concatenate([_nodes(tree, name) for tree in trees]) for name in names
    )
    counts = np.array([len(tree["left_children"]) for tree in trees])
    starts, owners = np.cumsum(counts) - counts, np.repeat(np.arange(len(trees)), counts)

    def demand(fits: NDArray[np.bool_], of: Ints, what: str) -> None:
        if not fits.all():
            _demand(False, f"tree {first + of[fits.argmin()]}: {what}")

    absent = (parents == -1) | (parents == NO_PARENT)
    demand(absent | ((parents >= 0) & (parents < counts[owners])), owners, "parents")
    level, seen = starts, np.ones(len(trees), np.int64)
    while len(level := level[left[level] != -1]):
        of = owners[level]
        demand((column[level] >= 0) & (column[level] < features), of, "split_indices")
        above, of = np.tile(level - starts[of], 2), np.tile(of, 2)
        below = np.concatenate([left[level], right[level]])
        demand((below >= 1) & (below < counts[of]), of, "the children")
        level = below + starts[of]
        demand(parents[level] == above, of, "the parents")
        seen += np.bincount(of, minlength=len(trees))
        demand(seen <= counts, np.arange(len(trees)), "the children, in a circle")


def _nodes(tree: dict[str, Any], name: str) -> Ints:
    """Return an array of a tree as int64 [nodes]. Raises ValueError."""
    values = np.asarray(tree[name], np.int64)
    _demand(values.ndim == 1, name)
    return values


def _check_categories(tree: dict[str, Any], nodes: int, place: str) -> None:
    parts = ("categories_nodes", "categories_segments", "categories_sizes")
    if not any(len(tree.get(name, ())) for name in ("categories", *parts)):
        return
    codes = np.asarray(tree.get("categories", ()), np.int64)
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
