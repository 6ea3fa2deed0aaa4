"""The cube and the tables: every figure of the study, with its interval."""

import json
from typing import Annotated

from pydantic import Field as Constraint
from pydantic import model_validator

from analysis.quality.figures import join, summarise
from analysis.quality.results import Gap, cube, headline, table
from analysis.report.tables import csv_text
from pipeline.stage import STUDY, File, Finished, Metrics, Run, Section, Stage
from store.artifacts.quality import FURTHER_QUALITY, QUALITY
from store.artifacts.results import RESULTS
from store.errors import MissingArtifact
from store.leaf.commit import write_file

CSV = "report/results.csv"
METRICS = "report/metrics.json"

STAGE = Stage(
    "results",
    STUDY,
    params=("results",),
    reads=(Finished(QUALITY), Finished(FURTHER_QUALITY)),
    writes=(RESULTS, File(CSV), Metrics(METRICS)),
)


class Headline(Section):
    """What ``report/metrics.json`` holds: Recall at ``k`` of named (codec, bits), and one difference.

    ``bits`` of 0 takes the one length that the codec has. ``versus`` are two of the names.
    """

    k: int
    codecs: dict[str, tuple[str, int]]
    versus: tuple[str, str]

    @model_validator(mode="after")
    def _known(self) -> "Headline":
        for name in self.versus:
            if name not in self.codecs:
                raise ValueError(f"versus: {name!r} is not one of codecs: {', '.join(self.codecs)}")
        return self


class Params(Section):
    """Bootstrap over queries, and what stands in the headline.

    Unless ``allow_partial`` says otherwise, every cell of the study must be finished.
    """

    allow_partial: bool
    draws: Annotated[int, Constraint(ge=1000)]
    seed: Annotated[int, Constraint(ge=0, lt=2**31)]
    confidence: Annotated[float, Constraint(gt=0.5, lt=1)]
    headline: Headline


def run(run: Run[Params]) -> None:
    """Average over seeds and queries, with paired intervals, for every cell of the study."""
    settings, gaps = run.params, _gaps(run)
    missing = {(gap.model, gap.dataset): gap.artifacts for gap in gaps}
    recalls, figures = [], []
    for keys in run.study.cells():
        lacking = missing.get((keys["model"], keys["dataset"]), ())
        if QUALITY.artifact in lacking:
            continue
        cell = run.labelled(QUALITY, keys)
        if FURTHER_QUALITY.artifact not in lacking:
            cell = join([cell, run.labelled(FURTHER_QUALITY, keys)])
        figures.append(
            summarise(cell, draws=settings.draws, seed=settings.seed, confidence=settings.confidence)
        )
        # The headline takes no more of a cell, and every cell is kept until then.
        recalls.append(cell[["value"]].sel(metric=["recall"]))
    shown = headline(
        recalls,
        names=settings.headline.codecs,
        versus=settings.headline.versus,
        k=settings.headline.k,
        draws=settings.draws,
        seed=settings.seed,
        confidence=settings.confidence,
    )
    with run.commit(RESULTS) as writer:
        for name, variable in cube(figures, gaps).variables.items():
            writer.write(str(name), variable.values)
        writer.describe(
            study=run.study.name, confidence=settings.confidence, draws=settings.draws, seed=settings.seed
        )
    if gaps:
        shown["cells_incomplete"] = len(gaps)
    rows = table(figures, gaps)
    write_file(run.layout, run.layout.root / CSV, csv_text(rows).encode())
    write_file(run.layout, run.layout.root / METRICS, (json.dumps(shown, indent=2) + "\n").encode())
    run.say(f"{len(figures)} cells, {len(rows)} rows in {CSV}")
    for gap in gaps:
        run.say(f"{gap.model} × {gap.dataset} is missing: {gap.text}")


def _gaps(run: Run[Params]) -> list[Gap]:
    """What is missing of the study, where that is allowed; MissingArtifact names the cells where it is not."""
    gaps = []
    for keys in run.study.cells():
        artifacts = tuple(schema.artifact for schema in run.stage.inputs if not run.has(schema, keys))
        if artifacts:
            gaps.append(Gap(keys["model"], keys["dataset"], artifacts))
    number = len(list(run.study.cells()))
    if all(QUALITY.artifact in gap.artifacts for gap in gaps) and len(gaps) == number:
        raise MissingArtifact(f"results: no cell of the study {run.study.name} is finished; run `dvc repro`")
    if gaps and not run.params.allow_partial:
        cells = ", ".join(f"{gap.model} × {gap.dataset}" for gap in gaps)
        raise MissingArtifact(
            f"results: {len(gaps)} of {number} cells are not finished ({cells}); run `dvc repro`, or set "
            "results.allow_partial to true and run `make graph` to look at the others"
        )
    return gaps
