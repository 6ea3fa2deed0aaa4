"""Documents of a repository, and answers of a server, that would fill the memory are refused before they do."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from store.errors import InvalidInput
from store.revisions.revision import open_revision
from tests.store.revisions.lake_projects import make_project

ANCHORS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 10)}]" for at in range(1, 9)]
)
LISTS = "\n".join(f"l{at}: [{', '.join(map(str, range(100)))}]" for at in range(5))
STAGE = {"cmd": "true", "outs": ["lake.zarr/embeddings/m/d"]}
BOMBS: dict[str, tuple[dict[str, str], str]] = {
    "nested anchors in params.yaml": (
        {
            "params.yaml": ANCHORS,
            "dvc.yaml": yaml.safe_dump({"stages": {"s": STAGE | {"matrix": {"m": "${a8}"}}}}),
        },
        r"^params\.yaml: its aliases repeat more than",
    ),
    "nested anchors in dvc.yaml": (
        {"dvc.yaml": f"{ANCHORS}\nstages: {{}}"},
        r"^dvc\.yaml: its aliases repeat",
    ),
    "nested anchors in dvc.lock": (
        {"dvc.lock": f"{ANCHORS}\nstages: {{}}"},
        r"^dvc\.lock: its aliases repeat",
    ),
    "nested anchors in another file of values": (
        {"more.yaml": ANCHORS, "dvc.yaml": "vars: [more.yaml]\nstages: {}"},
        r"^more\.yaml: its aliases repeat",
    ),
    "nested anchors in a folder": (
        {"deep/params.yaml": ANCHORS, "deep/dvc.yaml": "stages: {}"},
        r"^params\.yaml: its aliases repeat",
    ),
    "an import with nested anchors": (
        {"data.dvc": f"{ANCHORS}\nouts: []"},
        r"^data\.dvc: its aliases repeat",
    ),
    "a matrix of billions": (
        {
            "params.yaml": LISTS,
            "dvc.yaml": yaml.safe_dump(
                {"stages": {"s": STAGE | {"matrix": {f"l{at}": f"${{l{at}}}" for at in range(5)}}}}
            ),
        },
        r"^dvc\.yaml: stage s would run more than 100,000 times",
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_documents_that_would_fill_the_memory_are_refused_however_they_come(
    kind: str, tmp_path: Path
) -> None:
    files, message = BOMBS[kind]
    project = make_project(tmp_path / "project")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "empty")
    for name, content in {"dvc.yaml": "stages: {}\n", **files}.items():
        (project.root / name).parent.mkdir(exist_ok=True)
        (project.root / name).write_text(content + "\n")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "bomb")
    for url, rev in ((str(project.root), None), (str(project.root), "HEAD"), (project.root.as_uri(), None)):
        with pytest.raises(InvalidInput, match=message):
            open_revision(url, rev)
