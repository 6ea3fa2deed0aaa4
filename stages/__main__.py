"""``python -m stages NAME [--model LABEL] [--dataset LABEL]``: run one stage, ``graph`` or ``code``.

Parameters and graph are checked as a whole first. Whatever goes wrong is one line on the standard error stream and an
exit code (`store.failures`).
"""

from __future__ import annotations

import argparse
import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import store.failures
from pipeline import budget, code, graph, params, study
from pipeline.checks import check_cell, size_of
from pipeline.spending import metered
from pipeline.stage import CELL, DATASET, MODEL, TEXTS, Run, Stage
from pipeline.started import Started
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.corpora.agreement import are_texts_of
from store.errors import DamagedArtifact, InvalidInput
from store.layout import CORPORA, Layout, leaf_path
from store.leaf.origin import remedy
from store.leaf.ownership import claimed
from store.yaml_files import read_yaml


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; `{self.prog} --help` says what it takes\n")


def main(arguments: list[str] | None = None, root: Path | None = None) -> int:
    """Run the stage that the arguments name; returns the exit code."""
    return store.failures.run(lambda: _main(arguments, root))


def _main(arguments: list[str] | None, root: Path | None) -> int:
    parser = _Parser(prog="python -m stages", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    known = params.stages()
    for stage in known.values():
        command = commands.add_parser(stage.name)
        for key in stage.per:
            command.add_argument(f"--{key}", required=True, metavar="LABEL")
        command.add_argument("--check", action="store_true", help="parse, check and open inputs, then stop")
    command = commands.add_parser("graph", help="write dvc.yaml from params.yaml")
    command.add_argument("--check", action="store_true", help="only say whether they agree")
    commands.add_parser("code", help="write code.yaml: a digest of the code that each stage runs")
    chosen = parser.parse_args(arguments)
    root = Path.cwd() if root is None else root
    if chosen.name == "graph":
        if chosen.check:
            study.check_graph(root)
        else:
            study.write_graph(root)
    elif chosen.name == "code":
        code.write(root, {stage.name: f"stages.{stage.module}" for stage in known.values()})
    else:
        _run_stage(root, known[chosen.name], chosen)
    return 0


def _run_stage(root: Path, stage: Stage, chosen: argparse.Namespace) -> None:
    content = read_yaml(root / params.PARAMS)
    parsed = params.parse(content)
    lacking = graph.check(root, parsed)
    keys = {key: getattr(chosen, key) for key in stage.per}
    for key, labels in ((MODEL, parsed.study.models), (DATASET, parsed.study.datasets)):
        if key in keys and keys[key] not in labels:
            raise InvalidInput(f"--{key}: {keys[key]!r} is not in the study; it has {', '.join(labels)}")
    if stage.per == CELL:
        # All that the cell is computed with before it is embedded; after that what a stage is itself concerned with.
        only = "" if EMBEDDINGS in stage.writes else stage.section
        check_cell(parsed, keys, size_of(Layout(root), parsed, keys), only)
    step = "@".join(filter(None, [stage.name, "-".join(keys.values())]))
    started = Started.now(root, stage, step, parsed, content)
    run = Run(
        stage=stage,
        params=parsed.section(stage.section, keys) if stage.section else None,
        study=parsed.study,
        layout=Layout(root),
        keys=keys,
        values={place: parsed.section(place.format(**keys), keys) for place in stage.params},
        lacking=lacking if stage.may_lack else frozenset(),
        makers={
            schema.artifact: (one.name, schema) for one in params.stages().values() for schema in one.outputs
        },
        settings=started.settings,
    )
    if chosen.check:
        run.check_inputs()
        _check_texts(run)
        return

    def unchanged() -> None:
        started.check()
        _check_texts(run)

    with claimed(run.layout.staging, step, step):
        run.compare_inputs()
        _check_texts(run)
        with metered(run.layout, budget.load(root), stage.name, keys) as advanced:
            running = replace(run, advanced=advanced, unchanged=unchanged)
            importlib.import_module(f"stages.{stage.module}").run(running)
        # What a stage writes for people is in no leaf; DVC records none of it where this raises.
        started.check()


def _check_texts(run: Run[Any]) -> None:
    """Raise `DamagedArtifact` where the texts that a run reads are not those of the judgements that are there."""
    if TEXTS not in run.stage.reads:
        return
    for dataset in [run.dataset] if run.stage.per else run.study.datasets:
        keys = {DATASET: dataset}
        if run.has(JUDGEMENTS, keys) and not are_texts_of(
            run.layout.corpus(dataset), run.inputs.open(JUDGEMENTS, keys)
        ):
            raise DamagedArtifact(
                f"{CORPORA}/{dataset}: its texts are not those of {leaf_path(JUDGEMENTS.artifact, keys)}; "
                + remedy(f"{run.makers[JUDGEMENTS.artifact][0]}@{dataset}")
            )


if __name__ == "__main__":
    store.failures.leave(main())
