"""The tables of README.md that come from the code: `make readme` writes them anew."""

from __future__ import annotations

import dataclasses
import re

from locations import PROJECT  # isort: split

import settings
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


TABLES = {"settings": settings_table, "hyperparameters": parameters.markdown}


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
