"""How long stages take to start, and `dvc repro` to find that nothing changed: ``python -m benchmarks.stages``.

A start is a whole process that parses the parameters, checks the graph and opens the stage's inputs (``--check``).
The floor is what importing NumPy and Zarr alone costs here. Commands take turns, so that a slow moment of the
machine affects all of them. `embed` is left out: it may import torch. The study must have been computed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks._machine import ROOT, summary, write
from pipeline import graph, params
from store.errors import BitlakeError

FLOOR = "import numpy, zarr"
NO_OP = "dvc repro, nothing to do"
STARTS = 7
NO_OPS = 3

Command = tuple[str, ...]


def start_commands(study: params.Params) -> dict[str, Command]:
    """The floor, and every stage but `embed` with the study's first model and dataset."""
    labels = {"model": study.study.models[0], "dataset": study.study.datasets[0]}
    commands: dict[str, Command] = {FLOOR: (sys.executable, "-c", FLOOR)}
    for stage in params.stages().values():
        if stage.name != "embed":
            options = [option for key in stage.per for option in (f"--{key}", labels[key])]
            commands[stage.name] = (sys.executable, "-m", "stages", stage.name, *options, "--check")
    return commands


def timed(commands: Mapping[str, Command], repetitions: int, root: Path) -> dict[str, list[float]]:
    """Seconds of each command, interleaved, after one unmeasured round; raises `SystemExit` where one fails."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    }
    for repetition in range(repetitions + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            done = subprocess.run(
                command, cwd=root, env=environment, capture_output=True, text=True, check=False
            )
            took = time.perf_counter() - start
            if done.returncode:
                last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]
                raise SystemExit(f"{name}: {last}; compute the study first: `make repro`")
            if repetition:
                seconds[name].append(took)
    return seconds


def up_to_date(root: Path) -> bool:
    """Whether `dvc repro` would do nothing; asked first, because it would otherwise compute the study."""
    command = (sys.executable, "-m", "dvc", "status", "--json")
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == "{}"


def print_table(seconds: Mapping[str, Sequence[float]]) -> None:
    """One line a command."""
    width = max(map(len, seconds))
    print(f"{'':{width}}  median s   max s")
    for name, repetitions in seconds.items():
        figures = summary(repetitions)
        print(f"{name:{width}}  {figures['median_s']:8.3f}  {figures['max_s']:6.3f}")


def main(root: Path = ROOT) -> int:
    """Measure, print and write ``report/benchmarks/stages.json``."""
    try:
        study = params.load(root)
        graph.check(root, study)
    except BitlakeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not up_to_date(root):
        print("error: the study is not computed or not up to date; run `make repro` first", file=sys.stderr)
        return 1
    seconds = timed(start_commands(study), STARTS, root)
    seconds |= timed({NO_OP: (sys.executable, "-m", "dvc", "repro", "--quiet")}, NO_OPS, root)
    print_table(seconds)
    write("stages", {"seconds": {name: summary(times) for name, times in seconds.items()}})
    return 0


if __name__ == "__main__":
    sys.exit(main())
