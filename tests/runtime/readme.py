"""The tables of README.md that come from the code: `make readme` writes them anew."""

from __future__ import annotations

import dataclasses
import re

from locations import PROJECT  # isort: split

import settings
from runtime.inference import monitor
from runtime.training import parameters

README = PROJECT / "README.md"


def settings_table() -> str:
    """Return the environment variables in Markdown."""
    lines = ["| variable | values | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(settings.Settings):
        meta = field.metadata
        default = f"`{meta['default']}`" if meta["default"] else ""
        names = " or ".join(f"`{name}`" for name in meta["names"])
        lines.append(f"| {names} | {meta['parse'].form} | {default} | {meta['help']} |")
    return "\n".join(lines)


def metrics_table() -> str:
    """Return the metrics in Markdown: what each counts, its labels, and how many series it has."""
    lines = ["| metric | type | labels | series at most | meaning |", "|---|---|---|---|---|"]
    for family in monitor.families():
        labels = ", ".join(f"`{label}`" for label in family.labels)
        lines.append(
            f"| `{family.name}` | {family.type} | {labels} | {family.most} | {family.help} |"
        )
    lines += ["", "| label | values |", "|---|---|"]
    lines += [f"| `{name}` | {label.values} |" for name, label in monitor.LABELS.items()]
    return "\n".join(lines)


TABLES = {
    "settings": settings_table,
    "hyperparameters": parameters.markdown,
    "metrics": metrics_table,
}


def renewed(text: str) -> str:
    """Return the README's text with each table between its marks replaced by the code's."""
    for name, table in TABLES.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
        text = re.sub(
            pattern, lambda match, t=table: f"{match[1]}{t()}\n{match[2]}", text, flags=re.S
        )
    return text


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
