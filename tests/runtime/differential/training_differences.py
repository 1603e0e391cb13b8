"""Jobs that end otherwise than with the built-in, on purpose, by the rows of README's table."""

from __future__ import annotations

from dataclasses import dataclass

TRAINED, REFUSED = "trained", "UserError"


@dataclass(frozen=True)
class Difference:
    """Cases that end otherwise here, by a row of README's table: refused or trained.

    A job that both train differs in its metrics.
    """

    row: str
    verdict: str
    cases: tuple[str, ...]


def per_metric(objective: str, metrics: str) -> tuple[str, ...]:
    """Return the identifiers of the choices of these metrics for an objective."""
    few = " num_class=3" if objective.startswith("multi:") else ""
    return tuple(f"objective={objective}{few} eval_metric={metric}" for metric in metrics.split())


DIFFERENCES = (
    Difference("Delimiters of CSV", TRAINED, ("job: csv with pipe",)),
    Difference("Header rows", TRAINED, ("job: csv with a header",)),
    Difference(
        "Cells that are not numbers",
        REFUSED,
        ("job: csv with a word", "job: ragged csv", "job: libsvm as csv"),
    ),
    Difference("Cells that are not numbers", TRAINED, ("job: csv with quoted cells",)),
    Difference("Columns and labels of strings", TRAINED, ("job: csv with a column of words",)),
    Difference("Weights in CSV and LIBSVM", TRAINED, ("job: csv with weights",)),
    Difference(
        "Hidden and empty files",
        TRAINED,
        ("job: an empty file called .hidden", "job: an empty file called _SUCCESS"),
    ),
    Difference(
        "Columns of the validation data",
        REFUSED,
        ("job: a validation channel of fewer columns",),
    ),
    Difference(
        "Content types of channels",
        TRAINED,
        (
            "job: csv as text/csv; label_size=1",
            "job: csv as text/csv;label_size=1;charset=utf8",
        ),
    ),
    Difference("Other channels", TRAINED, ("job: a channel of another name beside",)),
    Difference(
        "Metrics of classes",
        TRAINED,
        (
            "job: metrics of binary:logistic",
            "job: metrics of multi:softmax",
            "job: only f1 with binary:logistic",
            "job: only f1 to tune, with binary:logistic",
            *per_metric("binary:logistic", "accuracy f1 precision"),
            *per_metric("multi:softmax", "accuracy f1_macro"),
        ),
    ),
    Difference(
        "Metrics in the log",
        TRAINED,
        (
            *per_metric("reg:squarederror", "mae"),
            *per_metric("count:poisson", "rmse"),
            *per_metric("reg:tweedie", "rmse"),
            *per_metric("reg:gamma", "rmse"),
            *per_metric("survival:cox", "rmse"),
        ),
    ),
    Difference(
        "Metrics that are refused",
        TRAINED,
        (
            *per_metric("multi:softmax", "auc"),
            *per_metric("multi:softprob", "auc"),
            *per_metric("reg:tweedie", "tweedie-nloglik tweedie-nloglik@1.3"),
        ),
    ),
    Difference("Metrics that are refused", REFUSED, per_metric("multi:softmax", "rmse")),
    Difference(
        "Early stopping without a metric", TRAINED, ("job: early stopping without a metric",)
    ),
    Difference(
        "Cross-validation", TRAINED, ("job: cross-validation", "job: cross-validation, twice")
    ),
    Difference(
        "Ranking without query ids",
        REFUSED,
        (
            *(f"objective={name}" for name in ("rank:pairwise", "rank:ndcg", "rank:map")),
            *per_metric("rank:ndcg", "ndcg map ndcg@2 map@2 auc"),
        ),
    ),
    Difference(
        "survival:aft",
        TRAINED,
        (
            "objective=survival:aft",
            *per_metric("survival:aft", "aft-nloglik interval-regression-accuracy"),
        ),
    ),
    Difference(
        "Constraints",
        TRAINED,
        (
            "monotone_constraints=(1,-1,0,0)",
            "tree_method=approx monotone_constraints=(1,-1,0,0)",
            "tree_method=hist monotone_constraints=[1,-1,0,0]",
            "tree_method=hist interaction_constraints=[[0,1],[2,3]]",
            "tree_method=hist interaction_constraints=[[1,2],[3]]",
            "tree_method=exact interaction_constraints=[[1,2],[3]]",
            "interaction_constraints=[[1,2],[3]]",
        ),
    ),
    Difference(
        "Hyperparameters of XGBoost 3",
        TRAINED,
        (
            "device=cpu",
            "max_cat_to_onehot=4",
            "huber_slope=1 objective=reg:pseudohubererror",
            "missing=0",
            "max_depth=6.0",
            "base_score=-1",
            "seed=-2147483648",
            "seed=2147483647",
            "updater=grow_quantile_histmaker",
        ),
    ),
    Difference(
        "Hyperparameters without effect",
        REFUSED,
        (
            "aft_loss_distribution_scale=0",
            "booster=gblinear early_stopping_rounds=1",
            "tree_method=exact max_leaves=4",
            "tree_method=exact grow_policy=lossguide",
            "eta=0.3 learning_rate=0.3",
            "updater=sync",
            "objective=binary:logistic base_score=0",
            "objective=binary:logistic base_score=1",
        ),
    ),
    Difference(
        "Refused before training",
        REFUSED,
        (
            "job: csv with a nan label",
            "updater=grow_skmaker",
            "updater=distcol",
            "updater=prune",
            "updater=refresh",
            "process_type=update",
            "process_type=update updater=refresh",
            "max_bin=0",
            "max_bin=1",
            "num_class=2",
            "objective=binary:logistic num_class=2",
            "tree_method=exact max_depth=0",
            "tree_method=hist monotone_constraints=(1,-1,0,0,0,0)",
            "tree_method=hist interaction_constraints=[[1,99]]",
            *per_metric("reg:squarederror", "accuracy"),
            *per_metric("multi:softprob", "rmse"),
        ),
    ),
)
BY_CASE = {case: difference for difference in DIFFERENCES for case in difference.cases}
