"""Build oneDAL models from the trees of a Booster, through daal4py's model builder.

daal4py's ready converter takes fewer models and gets some wrong without a word (parallel trees,
dropped trees, two-class softmax, the trees after the best iteration). Building from the saved
model is as short, and its sums agree with XGBoost's to the last bit: the starting margin is a
first tree of one leaf, so that both add the same float32 numbers in the same order.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np

from runtime.acceleration.document import Document, Tree, base_margins
from runtime.acceleration.engines import OneDALEngine, XGBoostEngine
from runtime.acceleration.widening import Widening

log = logging.getLogger(__name__)

_conversions = 0  # of this process and those it was forked from


def convert(document: Document, reference: XGBoostEngine) -> OneDALEngine:
    """Return the oneDAL engine of a model that `lint.refusals` has nothing against."""
    global _conversions
    started = time.perf_counter()
    bases = base_margins(reference.booster, document).tolist()
    widening = Widening(document) if document.categorical else None
    width = widening.width if widening else document.num_features
    groups: list[list[Tree]] = [[] for _ in bases]
    for tree in document.trees:
        groups[tree.group].append(widening.rewrite(tree) if widening else tree)
    regressors = [_regressor(trees, base, width) for trees, base in zip(groups, bases, strict=True)]
    classifier = None
    if document.objective == "multi:softprob" and len(groups) > 2:
        classifier = _classifier(groups, bases, width)
    if widening:
        widening.forget_sets()
    _conversions += 1
    log.info(
        "converted the model to oneDAL (conversion %d in this process tree, %.2f s)",
        _conversions,
        time.perf_counter() - started,
    )
    # Shares of a category cannot be had from those of its memberships, as a path may read several
    # of them; and there is nothing to compare with where XGBoost cannot explain vectors.
    shap = widening is None and not document.vector_leaves
    return OneDALEngine(regressors, classifier, reference, widening, shap=shap)


def _regressor(trees: list[Tree], base: float, num_features: int) -> Any:
    """Return the model of one group's margin."""
    import daal4py

    builder = daal4py.gbt_reg_model_builder(n_features=num_features, n_iterations=len(trees) + 1)
    builder.add_leaf(tree_id=builder.create_tree(1), response=base, cover=0.0)
    for tree in trees:
        _add(builder, tree)
    return builder.model(base_score=0.0)


def _classifier(groups: list[list[Tree]], bases: list[float], num_features: int) -> Any:
    """Return the model of all classes' probabilities: one call instead of one per class.

    oneDAL takes the n-th tree for class n modulo the number of classes, whatever label it is
    given; the label only says where the tree is stored, one class's share after the other.
    """
    import daal4py

    rounds = len(groups[0]) + 1
    builder = daal4py.gbt_clf_model_builder(
        n_features=num_features, n_iterations=rounds, n_classes=len(groups)
    )
    for number, base in enumerate(bases):
        tree_id = builder.create_tree(n_nodes=1, class_label=number // rounds)
        builder.add_leaf(tree_id=tree_id, response=base, cover=0.0)
    interleaved = [tree for trees in zip(*groups, strict=True) for tree in trees]
    for number, tree in enumerate(interleaved, start=len(groups)):
        _add(builder, tree, class_label=number // rounds)
    return builder.model(base_score=0.0)


def _add(builder: Any, tree: Tree, **label: int) -> None:
    """Add one tree, parents before children; nodes that pruning cut off are not reached.

    oneDAL goes left when x <= threshold, XGBoost when x < threshold: hence one ulp down.
    """
    threshold = np.nextafter(tree.value, np.float32(-np.inf)).tolist()
    left, right, feature = tree.left.tolist(), tree.right.tolist(), tree.feature.tolist()
    value, default_left, cover = (
        tree.value.tolist(),
        tree.default_left.tolist(),
        tree.cover.tolist(),
    )
    order = _reachable(left, right)
    tree_id = builder.create_tree(n_nodes=len(order), **label)
    handles: dict[int, Any] = {}
    for node, parent, position in order:
        place = {} if parent < 0 else {"parent_id": handles[parent], "position": position}
        if left[node] < 0:
            builder.add_leaf(tree_id=tree_id, response=value[node], cover=cover[node], **place)
        else:
            handles[node] = builder.add_split(
                tree_id=tree_id,
                feature_index=feature[node],
                feature_value=threshold[node],
                cover=cover[node],
                default_left=default_left[node],
                **place,
            )


def _reachable(left: list[int], right: list[int]) -> list[tuple[int, int, int]]:
    """Return (node, parent, position) from the root down."""
    order = [(0, -1, 0)]
    for node, _, _ in order:
        if left[node] >= 0:
            order += [(left[node], node, 0), (right[node], node, 1)]
        if len(order) > len(left):
            raise ValueError("the nodes of a tree form a cycle")
    return order
