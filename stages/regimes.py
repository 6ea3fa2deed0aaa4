"""Where one codec should be used and where another of the same bytes: regimes of their differences over the study."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field as Constraint

from analysis.quality.figures import join
from analysis.quality.regimes import Side, compare, count_regimes
from analysis.report.curves import png
from analysis.report.regimes import differences_by_cell
from analysis.report.tables import csv_text
from pipeline.stage import STUDY, File, Run, Section, Stage
from store.artifacts.quality import FURTHER_QUALITY, QUALITY
from store.leaf.commit import write_file

CSV = "report/regimes.csv"
PICTURE = "report/plots/regimes.png"

STAGE = Stage(
    "regimes",
    STUDY,
    params=("regimes",),
    reads=(QUALITY, FURTHER_QUALITY),
    writes=(File(CSV), File(PICTURE)),
)


class Params(Section):
    """``first`` is compared with ``second`` at ``k``; differences within ``margin`` are no difference in practice."""

    first: Side
    second: Side
    metric: Literal["recall", "ndcg", "mrr", "overlap"]
    k: Annotated[int, Constraint(ge=1)]
    margin: Annotated[float, Constraint(gt=0)]
    draws: Annotated[int, Constraint(ge=1000)]
    seed: Annotated[int, Constraint(ge=0, lt=2**31)]
    confidence: Annotated[float, Constraint(gt=0.5, lt=1)]


def run(run: Run[Params]) -> None:
    """Compare both codecs at every size that both have, in every cell."""
    settings = run.params
    cells = []
    for keys in run.study.cells():
        cell = join([run.labelled(schema, keys) for schema in (QUALITY, FURTHER_QUALITY)])
        # Every cell is kept until the family is whole, but no more of it than is compared.
        compared = cell["codec"].isin([settings.first.codec, settings.second.codec])
        cells.append(cell[["value"]].isel(configuration=np.flatnonzero(compared)))
    rows = compare(
        cells,
        settings.first,
        settings.second,
        metric=settings.metric,
        k=settings.k,
        margin=settings.margin,
        draws=settings.draws,
        seed=settings.seed,
        confidence=settings.confidence,
    )
    write_file(run.layout, run.layout.root / CSV, csv_text(rows).encode())
    write_file(run.layout, run.layout.root / PICTURE, png(differences_by_cell(rows, settings.margin)))
    counted = ", ".join(f"{number} {name}" for name, number in count_regimes(rows).items())
    run.say(
        f"{len(rows)} comparisons in {CSV}: {settings.first.label} is {counted} to {settings.second.label}"
    )
