"""The hyperparameters that a job chose, as the rest of the program reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runtime.training.parameters import CLASS_METRICS, NUMBER_METRICS, TABLE

DEFAULTS = {row.name: row.default for row in TABLE}
GROUPS = {row.name: row.group for row in TABLE}


@dataclass(frozen=True)
class Hyperparameters:
    """What the job asks for: `given` holds typed values by canonical name."""

    given: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        """Return the given value, or the table's default."""
        return self.given.get(name, DEFAULTS[name])

    @property
    def objective(self) -> str:
        return str(self["objective"])

    @property
    def metrics(self) -> list[str]:
        """The metrics asked for; the one that a tuning job reads comes last."""
        asked = list(dict.fromkeys(self.given.get("eval_metric", [])))
        tuned = (self.given.get("_tuning_objective_metric") or "").split(":")[-1]
        return [name for name in asked if name != tuned] + ([tuned] if tuned else [])

    @property
    def histogram(self) -> bool:
        """Whether trees are grown from histograms, which a quantile matrix serves."""
        plain = self["booster"] != "gblinear" and "updater" not in self.given
        return plain and self["tree_method"] in {"auto", "hist"}

    def for_xgboost(self) -> dict[str, Any]:
        """Return the parameters that XGBoost itself takes, as they were given."""
        names = [name for name in self.given if GROUPS[name] not in {"job", "ignored"}]
        values = {name: self.given[name] for name in names if name != "eval_metric"}
        own = [name for name in self.metrics if name not in CLASS_METRICS + NUMBER_METRICS]
        if own:
            values["eval_metric"] = own
        elif self.metrics:
            values["disable_default_eval_metric"] = 1
        if "updater" in values:
            values["updater"] = ",".join(values["updater"])
        return values
