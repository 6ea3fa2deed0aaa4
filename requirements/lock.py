"""Write the lock files: the exact version of every package that each group of ``pyproject.toml`` reaches.

The versions are those of the environment this runs in (``make lock``), so upgrading is: install what is
wanted, run the tests, lock. Every file holds only what the one before it lacks, which it includes.

`uv pip compile --universal` finds the same packages and versions (uv 0.13, group `encode`), and the libraries of one
torch build beside them, but cannot write these files. It repeats all of a group in the file of the next. It pins those
libraries, and other builds of the torch release, which need others, could not be installed. And its lines change with
the platforms it is told about, while the datasets depend on the text of `encode.txt`.
"""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
GROUPS = ("analysis", "encode", "dev")

# One lock serves all of these: a package that any of them needs is pinned.
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = (("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64"))

# Torch builds differ in these and pin them exactly themselves; a lock that named them would force one build.
ACCELERATOR_PREFIXES = ("nvidia-", "cuda-", "triton")


@dataclass(frozen=True)
class Pin:
    """A package and the public part of its version: a local part such as ``+cpu`` names a build of it."""

    name: str
    version: str

    @classmethod
    def installed(cls, name: str) -> Pin:
        """The pin of an installed package; ``LookupError`` names one that is missing."""
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            raise LookupError(
                f"{name} is needed but not installed: install it, then run `make lock` again"
            ) from None
        return cls(canonicalize_name(distribution.name), Version(distribution.version).public)

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


def direct_requirements(project: dict[str, Any], group: str) -> list[Requirement]:
    """What ``pyproject.toml`` asks for by name in one group, without the groups it includes."""
    if group == "analysis":
        lines = project["project"]["dependencies"]
    else:
        lines = [line for line in project["dependency-groups"][group] if isinstance(line, str)]
    return [Requirement(line) for line in lines]


def reached(requirements: Iterable[Requirement]) -> set[str]:
    """Canonical names of the installed packages that the requirements need, directly or through others."""
    todo = [(requirement, "") for requirement in requirements]
    seen: set[tuple[str, str]] = set()
    while todo:
        requirement, extra_of_parent = todo.pop()
        name = canonicalize_name(requirement.name)
        if name.startswith(ACCELERATOR_PREFIXES) or not _applies(requirement, extra_of_parent):
            continue
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                todo += [(Requirement(line), extra) for line in _requires(name)]
    return {name for name, _ in seen}


def _requires(name: str) -> list[str]:
    Pin.installed(name)
    return importlib.metadata.requires(name) or []


def _applies(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({**target, "extra": extra}) for target in _targets())


def _targets() -> Iterator[dict[str, str]]:
    for python in PYTHONS:
        for sys_platform, platform_system, machine in PLATFORMS:
            yield {
                "implementation_name": "cpython",
                "os_name": "posix",
                "platform_machine": machine,
                "platform_python_implementation": "CPython",
                "platform_system": platform_system,
                "python_full_version": f"{python}.0",
                "python_version": python,
                "sys_platform": sys_platform,
            }


def render(project: dict[str, Any]) -> dict[str, str]:
    """The text of each lock file, by group."""
    texts: dict[str, str] = {}
    requirements: list[Requirement] = []
    locked: set[str] = set()
    for position, group in enumerate(GROUPS):
        requirements += direct_requirements(project, group)
        new = reached(requirements) - locked
        lines = ["# Written by `make lock` from pyproject.toml: do not edit."]
        lines += [f"-r {GROUPS[position - 1]}.txt"] if position else []
        lines += [str(Pin.installed(name)) for name in sorted(new)]
        texts[group] = "\n".join(lines) + "\n"
        locked |= new
    return texts


def lock_path(group: str) -> Path:
    """The lock file of one group."""
    return ROOT / "requirements" / f"{group}.txt"


def load_project() -> dict[str, Any]:
    """The parsed ``pyproject.toml``."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def main() -> int:
    """Rewrite the lock files from the current environment."""
    try:
        texts = render(load_project())
    except LookupError as error:
        print(f"lock: {error}", file=sys.stderr)
        return 1
    for group, text in texts.items():
        lock_path(group).write_text(text, encoding="utf-8")
        print(f"{lock_path(group).relative_to(ROOT)}: {text.count('==')} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
