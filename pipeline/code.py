"""The code that each stage runs, as one digest a stage: by it ``dvc repro`` knows which stages a change affects.

A stage's code is its import closure. Listing every module of it as a dependency of every stage of every cell would make
``dvc.lock`` several times as long, and DVC rewrites that file after each stage. So one stage, ``code``, reads the
packages and writes ``code.yaml``, and every other stage depends on its own line of it.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path
from pkgutil import iter_modules

import yaml

from store.layout import Layout
from store.leaf.commit import write_file

CODE = "code.yaml"
PACKAGES = ("analysis", "pipeline", "stages", "store")


def import_closure(root: Path, module: str, within: tuple[str, ...] = PACKAGES) -> tuple[str, ...]:
    """Files of the project that ``module`` imports, directly or not, at its top or inside functions; sorted.

    Only what is ``within`` the named packages and modules, or is a package above one of them, counts and is followed.

    A module that imports whatever it finds in a package says so in a constant ``DISCOVERS = "the.package"``; all
    modules of that package are then part of the closure, those that somebody adds as well.
    """
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _module_file(root, name)
        if path is None or path in found or not _is_within(name, within):
            continue
        found.add(path)
        package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
        # Importing a.b.c runs a/__init__.py and a/b/__init__.py as well.
        waiting.extend(name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1))
        source = (root / path).read_text(encoding="utf-8")
        waiting.extend(_imports(source, package))
        for discovered in _discovers(source):
            waiting.extend(_modules_of(root, discovered))
    return tuple(sorted(path for path in found if (root / path).stat().st_size))


def _is_within(name: str, packages: tuple[str, ...]) -> bool:
    return any(f"{name}.".startswith(f"{package}.") or package.startswith(f"{name}.") for package in packages)


def _module_file(root: Path, name: str) -> str | None:
    if name.partition(".")[0] not in PACKAGES:
        return None
    relative = name.replace(".", "/")
    for candidate in (f"{relative}.py", f"{relative}/__init__.py"):
        if (root / candidate).is_file():
            return candidate
    return None


def _modules_of(root: Path, package: str) -> list[str]:
    return [f"{package}.{module.name}" for module in iter_modules([str(root / package.replace(".", "/"))])]


@cache
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


@cache
def _discovers(source: str) -> tuple[str, ...]:
    return tuple(
        ast.literal_eval(node.value)
        for node in _tree(source).body
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == "DISCOVERS" for target in node.targets)
    )


@cache
def _imports(source: str, package: str) -> tuple[str, ...]:
    names: list[str] = []
    waiting: list[ast.AST] = [_tree(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(filter(None, [package.rsplit(".", node.level - 1)[0], base]))
            names.append(base)
            names.extend(f"{base}.{alias.name}" for alias in node.names)
        # What a package offers on request (module-level __getattr__) is not what importing from it needs.
        elif not (isinstance(node, ast.FunctionDef) and node.name == "__getattr__"):
            waiting.extend(ast.iter_child_nodes(node))
    return tuple(names)


def digest(root: Path, module: str, within: tuple[str, ...] = PACKAGES) -> str:
    """SHA-256 over the paths and contents of a module's import closure, in hexadecimal."""
    sha = hashlib.sha256()
    for path in import_closure(root, module, within):
        for part in (path.encode(), (root / path).read_bytes()):
            sha.update(len(part).to_bytes(8, "little"))
            sha.update(part)
    return sha.hexdigest()


def write(root: Path, modules: dict[str, str]) -> None:
    """Write ``code.yaml``: for each stage, whose module is given, its digest."""
    content = {stage: digest(root, module) for stage, module in modules.items()}
    write_file(Layout(root), root / CODE, yaml.safe_dump(content, sort_keys=False).encode())
