"""What a run may open, and how it reads it as labelled arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.stage import STUDY, Run, Stage, Study
from store.artifacts.geometry import GEOMETRY
from store.artifacts.quality import QUALITY
from store.layout import Layout
from store.leaf.commit import commit_leaf

CELL = {"model": "m", "dataset": "d"}


@pytest.fixture
def run(tmp_path: Path) -> Run[None]:
    layout = Layout(tmp_path)
    with commit_leaf(layout, GEOMETRY, CELL) as leaf:
        leaf.write("measure", ["hubness", "margin"])
        for name in ("value", "ci_low", "ci_high"):
            leaf.write(name, np.array([1.5, 0.25]))
        leaf.write("sample_size", np.array([10, 20], np.int32))
        leaf.describe(**CELL, confidence=0.95)
    stage = Stage("reads", STUDY, reads=(GEOMETRY,))
    study = Study(name="tiny", models=("m",), datasets=("d",), sweeps={})
    return Run(stage, None, study, layout, keys={})


def test_a_run_reads_what_it_declared_as_labelled_arrays(run: Run[None]) -> None:
    geometry = run.labelled(GEOMETRY, CELL)
    assert geometry["value"].sel(measure="margin") == 0.25
    assert geometry["sample_size"].dims == ("measure",)
    assert geometry.attrs == {**CELL, "confidence": 0.95}


def test_a_run_reads_nothing_that_it_did_not_declare(run: Run[None]) -> None:
    with pytest.raises(LookupError, match="stage reads opens quality without declaring it"):
        run.labelled(QUALITY, CELL)
