"""What the package imports is what it declares: nothing is there by chance."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]


def imports(source: str) -> Iterator[str]:
    """Top-level names of the packages that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def normal(requirement: str) -> str:
    """A distribution's name without its version, as package indices compare names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=\[ ;!~]", requirement)[0]).lower()


def test_every_import_of_the_package_is_declared_and_every_declaration_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    usable = ("transformers", "optuna", "plots")
    declared = {
        normal(item) for item in project["dependencies"] + [item for name in usable for item in extras[name]]
    }
    found = {name for path in (ROOT / "fms_hub").rglob("*.py") for name in imports(path.read_text())}
    distributions = packages_distributions()
    used = {normal(distributions[name][0]) for name in found - set(sys.stdlib_module_names) - {"fms_hub"}}
    assert used == declared
