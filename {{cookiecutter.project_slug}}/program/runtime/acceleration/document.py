"""What a Booster's own saved model says of it: the ground truth for the lint and the conversion.

The configuration of a Booster (`save_config`) is not enough: it can say gbtree where the model
holds the weights of dropped trees. Source: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runtime.acceleration import ubjson

if TYPE_CHECKING:
    import xgboost

ROUNDS = 50  # boosting rounds that are read at a time

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Tree:
    """One tree as parallel arrays [nodes]. `left` is -1 at a leaf; `value` is the threshold of a
    split (left when x < value) or the score of a leaf, dropped-tree weight included. The nodes of
    `categories` split by sets instead: a row whose code is in the set goes right."""

    group: int
    left: Ints
    right: Ints
    feature: Ints
    value: Floats
    default_left: Ints
    cover: Floats
    categories: dict[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Document:
    """A model. `num_groups` is the number of outputs of one row before the link function."""

    booster: str
    objective: str
    num_features: int
    num_groups: int
    num_classes: int
    parallel_trees: int
    dropped: bool
    vector_leaves: bool
    trees: tuple[Tree, ...]

    @property
    def categorical(self) -> bool:
        """Whether any tree splits on categories."""
        return any(tree.categories for tree in self.trees)


def read(booster: xgboost.Booster) -> Document:
    """Read the saved form of `booster`. Raises KeyError or ValueError when it is not as known."""
    trees: list[Tree] = []
    dropped = vectors = False
    for learner in _pieces(booster):
        gradient, parameters = learner["gradient_booster"], learner["learner_model_param"]
        model = gradient.get("gbtree", gradient)["model"]
        raw, groups = model.get("trees", []), model.get("tree_info", [])
        weights = weight_drop(gradient)
        weights = [1.0] * len(raw) if weights is None or not len(weights) else weights
        for parts in zip(raw, groups, weights, strict=True):
            trees += _trees(*parts)
        dropped |= any(weight != 1.0 for weight in weights)
        vectors |= any(int(tree["tree_param"]["size_leaf_vector"]) > 1 for tree in raw)
    num_classes = int(parameters["num_class"])
    return Document(
        booster=gradient["name"],
        objective=learner["objective"]["name"],
        num_features=int(parameters["num_feature"]),
        num_groups=max(num_classes, int(parameters.get("num_target", 1)), 1),
        num_classes=num_classes,
        parallel_trees=int(model.get("gbtree_model_param", {}).get("num_parallel_tree", 1)),
        dropped=dropped,
        vector_leaves=vectors,
        trees=tuple(trees),
    )


def weight_drop(gradient: dict[str, Any]) -> Any:
    """Return the weights of trees after dropout; XGBoost 3.4 keeps them beside the trees."""
    return gradient.get("gbtree", gradient)["model"].get("weight_drop", gradient.get("weight_drop"))


def _pieces(booster: xgboost.Booster) -> Iterator[dict[str, Any]]:
    """Yield the model some rounds at a time: as a whole a large one needs gigabytes."""
    name = json.loads(booster.save_config())["learner"]["gradient_booster"]["name"]
    rounds = 0 if name == "gblinear" else booster.num_boosted_rounds()
    if not rounds:
        yield ubjson.read(booster.save_raw("ubj"))["learner"]
    for start in range(0, rounds, ROUNDS):
        part = booster[start : min(start + ROUNDS, rounds)]
        yield ubjson.read(part.save_raw("ubj"))["learner"]


def _trees(raw: dict[str, Any], group: int, weight: float) -> list[Tree]:
    """Return the tree; where leaves hold vectors, a tree for each output, with the same splits."""
    left = np.asarray(raw["left_children"], np.int32)
    right = np.asarray(raw["right_children"], np.int32)
    value = np.asarray(raw["split_conditions"], np.float32)
    leaf = left == -1
    outputs = int(raw["tree_param"]["size_leaf_vector"])
    if outputs > 1:
        # The place of a leaf's vector stands where the right child of a split does.
        vectors = np.asarray(raw["leaf_weights"], np.float32).reshape(-1, outputs)
        scores = dict(enumerate(vectors[np.where(leaf, right, 0)].T))
    else:
        scores = {group: value}
    return [
        Tree(
            group=output,
            left=left,
            right=right,
            feature=np.asarray(raw["split_indices"], np.int32),
            value=np.where(leaf, score * np.float32(weight), value),
            default_left=np.asarray(raw["default_left"], np.int32),
            cover=np.asarray(raw["sum_hessian"], np.float32),
            categories=_categories(raw),
        )
        for output, score in scores.items()
    ]


def _categories(raw: dict[str, Any]) -> dict[int, tuple[int, ...]]:
    """Return the codes that go right, by the nodes that split on categories."""
    names = ("categories_nodes", "categories_segments", "categories_sizes", "categories")
    if not len(raw["categories_nodes"]):
        return {}
    *parts, codes = (np.asarray(raw[name], np.int64).tolist() for name in names)
    return {
        node: tuple(sorted(codes[start : start + size]))
        for node, start, size in zip(*parts, strict=True)
    }


def base_margins(booster: xgboost.Booster, document: Document) -> Floats:
    """Return the margin [groups] that every row starts from.

    XGBoost itself is asked, with every leaf set to zero: the transformation of `base_score`
    differs by objective and version, and must agree to the last bit.
    """
    import xgboost

    if document.trees:
        # One round is enough, so that a large model is not written out as text.
        model = json.loads(booster[0:1].save_raw("json"))
        gradient = model["learner"]["gradient_booster"]
        for tree in gradient.get("gbtree", gradient)["model"]["trees"]:
            pairs = zip(tree["left_children"], tree["split_conditions"], strict=True)
            tree["split_conditions"] = [0.0 if left == -1 else value for left, value in pairs]
            if "leaf_weights" in tree:
                tree["leaf_weights"] = [0.0] * len(tree["leaf_weights"])
        booster = xgboost.Booster({"nthread": 1}, model_file=bytearray(json.dumps(model), "utf-8"))
    row = xgboost.DMatrix(np.zeros((1, document.num_features), np.float32), nthread=1)
    margins = booster.predict(row, output_margin=True, validate_features=False)
    return np.asarray(margins, np.float32).reshape(document.num_groups)
