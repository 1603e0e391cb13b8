"""What in a model keeps it from oneDAL, in words, before anything is converted."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Callable

from runtime.acceleration.document import Document
from runtime.acceleration.links import LINKS

Rule = tuple[Callable[[Document], object], str]

REFUSED: tuple[Rule, ...] = (
    (
        lambda model: model.booster == "gblinear",
        "the model is linear (booster gblinear): it has no trees that oneDAL could walk",
    ),
    (
        lambda model: model.objective not in LINKS,
        "objective {objective} is unknown here, so its answers cannot be put on XGBoost's scale",
    ),
    (
        lambda model: model.booster != "gblinear" and not model.trees,
        "the model has no trees yet: nothing to accelerate",
    ),
)

# Beyond what daal4py's own converter accepts: right by the same arithmetic, but rehearsed first.
RISKY: tuple[Rule, ...] = (
    (lambda model: model.booster != "gbtree", "booster {booster}"),
    (lambda model: model.dropped, "trees weighted by dropout"),
    (lambda model: model.parallel_trees > 1, "{parallel_trees} parallel trees a round"),
    (lambda model: model.objective.startswith("rank:"), "a ranking objective"),
    (lambda model: model.objective.startswith("survival:"), "a survival objective"),
    (lambda model: model.num_classes in (1, 2), "multi-class with {num_classes} classes"),
    (lambda model: model.num_groups > max(model.num_classes, 1), "several targets"),
)


def platform_reason() -> str:
    """Return why this machine has no oneDAL; empty when it has."""
    machine = platform.machine().lower()
    if machine not in {"x86_64", "amd64"}:
        return f"oneDAL is installed on x86-64 only; this machine is {machine}"
    if importlib.util.find_spec("daal4py") is None:
        return "daal4py is not installed (package scikit-learn-intelex)"
    return ""


def refusals(document: Document) -> list[str]:
    """Return a sentence for each reason against oneDAL; empty when it may be tried."""
    return _apply(REFUSED, document)


def risks(document: Document) -> list[str]:
    """Return what makes the conversion worth a rehearsal in a process of its own."""
    return _apply(RISKY, document)


def _apply(rules: tuple[Rule, ...], document: Document) -> list[str]:
    return [text.format(**vars(document)) for applies, text in rules if applies(document)]
