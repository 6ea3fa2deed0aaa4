"""The study of a project: one of the named ones, chosen by what is written into ``params.yaml`` and ``dvc.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import graph
from pipeline.checks import check_study
from pipeline.named_studies import STUDIES, study_files
from pipeline.params import PARAMS, Params, parse, stages
from pipeline.status import DONE, Progress, progress
from store.errors import InvalidInput
from store.layout import Layout
from store.leaf.commit import write_file
from store.yaml_files import parse_yaml, read_yaml

SECTION = "study"


def known(root: Path) -> list[str]:
    """Names of the project's studies, sorted."""
    return [path.stem for path in study_files(root)]


def use(root: Path, name: str) -> Params:
    """Write ``params.yaml`` and ``dvc.yaml`` for the named study; nothing is written if it is not valid."""
    text = with_study(root, name)
    content = parse_yaml(text, PARAMS)
    params = parse(content)
    check_study(root, params, content)
    lacking = unfinished(root, params, content)
    write_file(Layout(root), root / PARAMS, text.encode())
    graph.write(root, params, lacking)
    return params


def write_graph(root: Path) -> None:
    """Write ``dvc.yaml`` for the study in ``params.yaml``: the command behind ``make graph``."""
    content = read_yaml(root / PARAMS)
    params = parse(content)
    check_study(root, params, content)
    graph.write(root, params, unfinished(root, params, content))


def check_graph(root: Path) -> None:
    """Raise `InvalidInput` where ``make graph`` would refuse or change something: before ``make repro``."""
    content = read_yaml(root / PARAMS)
    params = parse(content)
    check_study(root, params, content)
    graph.check(root, params)


def status(root: Path, name: str | None = None) -> Progress:
    """How far the study in ``params.yaml``, or a named one, has come; nothing is written."""
    content = read_yaml(root / PARAMS) if name is None else parse_yaml(with_study(root, name), PARAMS)
    return progress(root, parse(content), content, remote=True)


def with_study(root: Path, name: str) -> str:
    """The text of ``params.yaml`` as it is for the named study. Raises `InvalidInput` where there is none."""
    if name not in known(root):
        raise InvalidInput(f"study: {name!r} is not one of {', '.join(known(root))} (files of {STUDIES}/)")
    file = f"{STUDIES}/{name}.yaml"
    stated = (root / file).read_text(encoding="utf-8")
    sections = parse_yaml(stated, file)
    if list(sections) != [SECTION] or not isinstance(sections[SECTION], dict):
        raise InvalidInput(
            f"{file}: expected the section {SECTION!r} and no other; all else stands in {PARAMS}"
        )
    if sections[SECTION].get("name") != name:
        raise InvalidInput(f"{file}: study.name is {sections[SECTION].get('name')!r}, expected {name!r}")
    return _replace_section((root / PARAMS).read_text(encoding="utf-8"), SECTION, stated)


def unfinished(root: Path, params: Params, content: Mapping[str, Any]) -> frozenset[str]:
    """Leaves of the study that are not done and here, of artifacts that some stage may do without.

    ``content`` is what ``params`` was parsed from. Nothing is looked at where no stage may do without anything.
    """
    wanted = {
        schema.artifact
        for stage in stages().values()
        if stage.may_lack and params.section(stage.section).allow_partial
        for schema in stage.may_lack
    }
    if not wanted:
        return frozenset()
    found = progress(root, params, content, remote=False)
    return frozenset(
        path
        for step in found.steps
        for path in step.outs
        if step.state != DONE and path.split("/")[1] in wanted
    )


def _replace_section(content: str, section: str, replacement: str) -> str:
    """``content`` with one top-level section replaced: comments elsewhere stay, which a YAML dump would lose."""
    lines = content.splitlines(keepends=True)
    starts = [index for index, line in enumerate(lines) if line.startswith(f"{section}:")]
    if len(starts) != 1:
        raise InvalidInput(f"{PARAMS}: expected one section {section!r}, found {len(starts)}")
    end = starts[0] + 1
    while end < len(lines) and lines[end][:1] in (" ", "-"):
        end += 1
    kept = [f"{line}\n" for line in replacement.rstrip().splitlines() if not line.startswith("#")]
    return "".join([*lines[: starts[0]], *kept, *lines[end:]])
