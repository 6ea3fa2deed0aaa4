"""``python -m stages NAME [--model LABEL] [--dataset LABEL]``: run one stage, ``graph`` or ``code``.

Parameters and graph are checked as a whole first. An error that Bitlake raises on purpose is one line on the
standard error stream and exit code 1.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from dataclasses import replace
from pathlib import Path

from pipeline import code, graph, params, study
from pipeline.spending import metered
from pipeline.stage import DATASET, MODEL, Run, Stage
from store.errors import BitlakeError, InvalidInput
from store.layout import Layout


def main(arguments: list[str] | None = None, root: Path | None = None) -> int:
    """Run the stage that the arguments name; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stages", description=__doc__)
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
    try:
        if chosen.name == "graph":
            if chosen.check:
                graph.check(root, params.load(root))
            else:
                study.write_graph(root)
        elif chosen.name == "code":
            code.write(root, {stage.name: f"stages.{stage.module}" for stage in known.values()})
        else:
            _run_stage(root, known[chosen.name], chosen)
    except BitlakeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run_stage(root: Path, stage: Stage, chosen: argparse.Namespace) -> None:
    parsed = params.load(root)
    lacking = graph.check(root, parsed)
    keys = {key: getattr(chosen, key) for key in stage.per}
    for key, labels in ((MODEL, parsed.study.models), (DATASET, parsed.study.datasets)):
        if key in keys and keys[key] not in labels:
            raise InvalidInput(f"--{key}: {keys[key]!r} is not in the study; it has {', '.join(labels)}")
    run = Run(
        stage=stage,
        params=parsed.section(stage.section, keys) if stage.section else None,
        study=parsed.study,
        layout=Layout(root),
        keys=keys,
        compute=parsed.compute,
        model_spec=parsed.models[keys[MODEL]] if stage.needs_model else None,
        dataset_spec=parsed.datasets[keys[DATASET]] if stage.needs_dataset else None,
        cutoffs=parsed.section("search").k if stage.needs_cutoffs else (),
        lacking=lacking if stage.may_lack else frozenset(),
    )
    if chosen.check:
        run.check_inputs()
        return
    with metered(run.layout, parsed.budget, stage.name, keys) as advanced:
        importlib.import_module(f"stages.{stage.module}").run(replace(run, advanced=advanced))


if __name__ == "__main__":
    sys.exit(main())
