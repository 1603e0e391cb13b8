"""What a Booster's own saved model says of it: the ground truth for the lint and the conversion.

The configuration of a Booster (`save_config`) is not enough: it can say gbtree where the model
holds the weights of dropped trees. Source: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acceleration import ubjson

if TYPE_CHECKING:
    import xgboost

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Tree:
    """One tree as parallel arrays [nodes]. `left` is -1 at a leaf; `value` is the threshold of a
    split (left when x < value) or the score of a leaf, dropped-tree weight included."""

    group: int
    left: Ints
    right: Ints
    feature: Ints
    value: Floats
    default_left: Ints
    cover: Floats


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
    categorical: bool
    trees: tuple[Tree, ...]


def read(booster: xgboost.Booster) -> Document:
    """Read the saved form of `booster`."""
    learner = ubjson.parse(bytes(booster.save_raw("ubj")))["learner"]
    parameters, gradient = learner["learner_model_param"], learner["gradient_booster"]
    model = gradient.get("gbtree", gradient)["model"]
    raw, groups = model.get("trees", []), model.get("tree_info", [])
    weights = gradient.get("weight_drop", ())
    num_classes = int(parameters["num_class"])
    return Document(
        booster=gradient["name"],
        objective=learner["objective"]["name"],
        num_features=int(parameters["num_feature"]),
        num_groups=max(num_classes, int(parameters.get("num_target", 1)), 1),
        num_classes=num_classes,
        parallel_trees=int(model.get("gbtree_model_param", {}).get("num_parallel_tree", 1)),
        dropped=any(float(weight) != 1.0 for weight in weights),
        vector_leaves=any(int(tree["tree_param"]["size_leaf_vector"]) > 1 for tree in raw),
        categorical=any(len(tree["categories_nodes"]) > 0 for tree in raw),
        trees=tuple(
            _tree(tree, int(groups[index]), float(weights[index]) if len(weights) else 1.0)
            for index, tree in enumerate(raw)
        ),
    )


def _tree(raw: dict[str, Any], group: int, weight: float) -> Tree:
    left = np.asarray(raw["left_children"], np.int32)
    value = np.asarray(raw["split_conditions"], np.float32)
    return Tree(
        group=group,
        left=left,
        right=np.asarray(raw["right_children"], np.int32),
        feature=np.asarray(raw["split_indices"], np.int32),
        value=np.where(left == -1, value * np.float32(weight), value),
        default_left=np.asarray(raw["default_left"], np.int32),
        cover=np.asarray(raw["sum_hessian"], np.float32),
    )


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
        booster = xgboost.Booster({"nthread": 1}, model_file=bytearray(json.dumps(model), "utf-8"))
    row = xgboost.DMatrix(np.zeros((1, document.num_features), np.float32), nthread=1)
    margins = booster.predict(row, output_margin=True, validate_features=False)
    return np.asarray(margins, np.float32).reshape(document.num_groups)
