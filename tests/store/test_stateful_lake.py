"""A lake with a history against plain dictionaries: after any operation, every revision holds what it held."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from store import open_lake
from store.artifacts.embeddings import EMBEDDINGS
from store.errors import MissingArtifact
from store.lake import Lake
from store.leaf.commit import commit_leaf
from store.revisions.garbage import collect_garbage
from store.revisions.verification import verify
from tests.counts import count
from tests.store.lakes import vectors
from tests.store.revisions.lake_projects import LakeProject, make_project
from tests.store.revisions.remote_projects import environment

CELLS = ("a", "b")
"""Datasets of one model."""

Contents = dict[str, tuple[int, int]]
"""Of each cell the number of rows and the seed of its vectors; the rows of a seed are the beginning of more rows."""


class History(RuleBasedStateMachine):
    """Cells are committed, appended to and dropped, revisions saved with a tag or without, and garbage collected."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._stack.enter_context(environment(folder / "environment"))
        self.project: LakeProject = make_project(folder / "project")
        self.workspace: Contents = {}
        self.saved: Contents | None = None
        self.kept: dict[str, Contents] = {}
        self.lost: dict[str, Contents] = {}

    def teardown(self) -> None:
        self._stack.close()

    def _write(self, cell: str, rows: int, seed: int) -> None:
        keys = {"model": "m", "dataset": cell}
        with commit_leaf(self.project.layout, EMBEDDINGS, keys) as leaf:
            leaf.write("documents", vectors(rows, seed=seed))
            leaf.write("queries", vectors(3, seed=seed))
            leaf.describe(**keys, corpus_digest="0" * 64, encoder={"seed": seed}, storage={})
        self.workspace[cell] = (rows, seed)

    def _check(self, lake: Lake, contents: Contents) -> None:
        assert [cell["dataset"] for cell in lake.embeddings.cells()] == sorted(contents)
        for cell, (rows, seed) in contents.items():
            found = lake.embeddings.sel(model="m", dataset=cell)
            np.testing.assert_array_equal(found.documents, vectors(rows, seed=seed))
            np.testing.assert_array_equal(found.queries, vectors(3, seed=seed))
            assert json.loads(found.attrs["encoder"]) == {"seed": seed}

    @initialize(rows=st.integers(1, 700))
    def begin(self, rows: int) -> None:
        self._write("a", rows, 0)
        self.save(tagged=True)

    @rule(cell=st.sampled_from(CELLS), rows=st.integers(1, 700), seed=st.integers(0, 3))
    def commit(self, cell: str, rows: int, seed: int) -> None:
        self._write(cell, rows, seed)

    @rule(cell=st.sampled_from(CELLS), more=st.integers(1, 300))
    def append(self, cell: str, more: int) -> None:
        rows, seed = self.workspace.get(cell, (0, 0))
        self._write(cell, rows + more, seed)

    @precondition(lambda self: len(self.workspace) > 1)
    @rule(cell=st.sampled_from(CELLS))
    def drop(self, cell: str) -> None:
        shutil.rmtree(self.project.layout.leaf("embeddings", {"model": "m", "dataset": cell}))
        del self.workspace[cell]

    @precondition(lambda self: self.workspace != self.saved)
    @rule(tagged=st.booleans())
    def save(self, tagged: bool) -> None:
        number = len(self.kept) + len(self.lost)
        outputs = [f"lake.zarr/embeddings/m/{cell}" for cell in sorted(self.workspace)]
        self.project.save(f"revision {number}", outputs, tag=f"v{number}" if tagged else "")
        self.saved = dict(self.workspace)
        if tagged:
            self.kept[f"v{number}"] = self.saved
        else:
            self.lost[self.project.git("rev-parse", "HEAD")] = self.saved

    @rule(data=st.data())
    def open_at_a_tag(self, data: st.DataObject) -> None:
        tag = data.draw(st.sampled_from(sorted(self.kept)))
        self._check(open_lake(self.project.root, rev=tag), self.kept[tag])

    @precondition(lambda self: self.lost)
    @rule(data=st.data())
    def open_at_a_commit(self, data: st.DataObject) -> None:
        """What no tag and no branch has may be collected: then it is missing, and nothing else is in its place."""
        commit = data.draw(st.sampled_from(sorted(self.lost)))
        with contextlib.suppress(MissingArtifact):
            self._check(open_lake(self.project.root, rev=commit), self.lost[commit])

    @rule(data=st.data())
    def verify_a_tag(self, data: st.DataObject) -> None:
        tag = data.draw(st.sampled_from(sorted(self.kept)))
        found = verify(str(self.project.root), tag)
        assert (found.faults, found.checked["artifacts"]) == ((), len(self.kept[tag]))

    @rule()
    def verify_the_workspace(self) -> None:
        faults = {finding.artifact for finding in verify(str(self.project.root)).faults}
        saved = self.saved or {}
        changed = {cell for cell, held in saved.items() if self.workspace.get(cell) != held}
        assert faults == {f"lake.zarr/embeddings/m/{cell}" for cell in changed}

    @rule()
    def collect(self) -> None:
        collect_garbage(self.project.root, remove=True)
        assert collect_garbage(self.project.root).objects == 0
        for tag, contents in self.kept.items():
            self._check(open_lake(self.project.root, rev=tag), contents)
        self._check(open_lake(self.project.root, rev="main"), self.saved or {})

    @invariant()
    def the_workspace_is_as_it_was_left(self) -> None:
        if self.workspace:
            self._check(open_lake(self.project.root), self.workspace)


def test_every_revision_holds_what_it_held(capfd: pytest.CaptureFixture[str]) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=count(full=60, quick=6),
            stateful_step_count=count(full=30, quick=20),
            # To shrink a failure would take minutes; the steps that led to it are printed as they are.
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
