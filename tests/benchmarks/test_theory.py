"""The suite of predictions measures both of its sides; nothing here depends on how long anything takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import theory


def test_both_sides_and_the_memory_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = np.random.RandomState(0).standard_normal((300, 64)).astype(np.float32)
    monkeypatch.setattr(theory, "stored", lambda: base)
    assert theory.main(["--documents", "400", "--queries", "3", "--repetitions", "1"], tmp_path) == 0
    written = json.loads((tmp_path / "theory.json").read_text())
    assert list(written["seconds"]) == ["SGEMM", "prediction"]
    assert 0 < written["peak_memory_mb"] < 100
