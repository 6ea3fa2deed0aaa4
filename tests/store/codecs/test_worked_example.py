"""The codec of docs/development.md: its two files are all it takes, and it keeps the laws of every codec."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

FILES = ("store/codecs/ternary.py", "tests/store/codecs/test_ternary.py")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The store and its tests, with the files of the example."""
    for folder in ("store", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    page = (ROOT / "docs/development.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for name, block in zip(FILES, blocks, strict=True):
        assert f"`{name}`" in page
        (tmp_path / name).write_text(block, encoding="utf-8")
    return tmp_path


def python(project: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=project, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def test_the_example_passes_its_tests(project: Path) -> None:
    passed = python(project, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", FILES[1])
    [tests] = re.findall(r"(\d+) passed", passed)
    assert int(tests) > 30


def test_the_registry_finds_the_example(project: Path) -> None:
    found = python(project, "-c", "from store.codecs.registry import CODECS; print(CODECS['ternary']())")
    assert found == "TernaryCodec()\n"
