"""The cube and the tables: every figure of the study, with its interval."""

import json
from typing import Annotated

from pydantic import Field as Constraint
from pydantic import model_validator

from analysis.results import COLUMNS, csv_text, cube, headline, summarise, table
from stages.cell_quality import read_quality
from stages.stage import STUDY, Run, Section, Stage
from store.artifacts.extended_quality import EXTENDED_QUALITY
from store.artifacts.quality import QUALITY
from store.artifacts.results import RESULTS
from store.commit import write_file

CSV = "report/results.csv"
METRICS = "report/metrics.json"

STAGE = Stage(
    name="results",
    per=STUDY,
    section="results",
    reads=(QUALITY, EXTENDED_QUALITY),
    writes=(RESULTS,),
    files=(CSV,),
    metrics=(METRICS,),
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
    """Bootstrap over queries, and what stands in the headline."""

    draws: Annotated[int, Constraint(ge=1000)]
    seed: Annotated[int, Constraint(ge=0, lt=2**31)]
    confidence: Annotated[float, Constraint(gt=0.5, lt=1)]
    headline: Headline


def run(run: Run[Params]) -> None:
    """Average over seeds and queries, with paired intervals, for every cell of the study."""
    cells, summaries = [], []
    settings = run.params
    for keys in run.study.cells():
        core, extended = read_quality(run.open(QUALITY, keys)), run.open(EXTENDED_QUALITY, keys)
        cells.append(core)
        found = [
            summary
            for cell in (core, read_quality(extended, "searched"), read_quality(extended, "rescored"))
            for summary in summarise(
                cell, draws=settings.draws, seed=settings.seed, confidence=settings.confidence
            )
        ]
        summaries += sorted(found, key=lambda summary: summary.configuration)
    figures = headline(
        cells,
        names=settings.headline.codecs,
        versus=settings.headline.versus,
        k=settings.headline.k,
        draws=settings.draws,
        seed=settings.seed,
        confidence=settings.confidence,
    )
    with run.commit(RESULTS) as writer:
        for name, values in cube(summaries, cells).items():
            writer.write(name, values)
        writer.describe(
            study=run.study.name, confidence=settings.confidence, draws=settings.draws, seed=settings.seed
        )
    rows = table(summaries)
    write_file(run.layout, run.layout.root / CSV, csv_text(rows, COLUMNS).encode())
    write_file(run.layout, run.layout.root / METRICS, (json.dumps(figures, indent=2) + "\n").encode())
    run.say(f"{len(cells)} cells, {len(rows)} rows in {CSV}")
