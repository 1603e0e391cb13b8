"""Imports point one way: no package knows of one that is above or beside it."""

from __future__ import annotations

import ast

from locations import PROGRAM

BOTTOM = {"runtime.parsers", "settings", "features", "custom", "runtime.job"}
BELOW: dict[str, set[str]] = {
    "runtime.parsers": set(),
    "settings": {"runtime.parsers"},
    "features": set(),
    "custom": set(),
    "runtime.job": {"settings"},
    "runtime.formats": BOTTOM,
    "runtime.acceleration": {*BOTTOM, "runtime.formats"},
    "runtime.training": {*BOTTOM, "runtime.formats", "runtime.acceleration"},
    "runtime.inference": {*BOTTOM, "runtime.formats", "runtime.acceleration"},
    "runtime.server": {*BOTTOM, "runtime.formats", "runtime.acceleration", "runtime.inference"},
}


def package_of(module: str) -> str:
    """Return which entry of BELOW a module belongs to; the empty string for others' modules."""
    found = [name for name in BELOW if module == name or module.startswith(f"{name}.")]
    return found[0] if found else ""


def imports_of(text: str) -> set[str]:
    """Return the modules that a source imports, at its top or in a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_import_points_down() -> None:
    wrong = []
    for path in sorted(PROGRAM.rglob("*.py")):
        module = ".".join(path.relative_to(PROGRAM).with_suffix("").parts)
        package = package_of(module)
        for name in imports_of(path.read_text()) if package else ():
            other = package_of(name)
            if other not in {"", package, *BELOW[package]}:
                wrong.append(f"{module} imports {name}")
    assert wrong == []


def test_no_package_imports_itself_in_a_circle() -> None:
    graph = {}
    modules = {
        ".".join(path.relative_to(PROGRAM).with_suffix("").parts): path
        for path in PROGRAM.rglob("*.py")
    }
    for module, path in modules.items():
        names = imports_of(path.read_text())
        names |= {name.rpartition(".")[0] for name in names}
        graph[module] = {name for name in names if name in modules and name != module}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail, module])
        if module not in done:
            for name in sorted(graph[module]):
                visit(name, (*trail, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())
