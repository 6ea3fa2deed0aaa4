"""E8: the observational relation between the geometry of cells and the quality of their binary codes."""

from typing import Annotated

from pydantic import Field as Constraint

from analysis.quality.figures import figures_of
from analysis.relation.assemble import assemble, note_samples
from analysis.relation.points import RelationSettings
from analysis.relation.relate import relate
from analysis.report.tables import csv_text
from pipeline.stage import STUDY, File, Run, Section, Stage
from store.artifacts.geometry import GEOMETRY
from store.artifacts.quality import QUALITY
from store.leaf.commit import write_file

CSV = "report/relation.csv"

STAGE = Stage("correlate", STUDY, params=("correlate",), reads=(QUALITY, GEOMETRY), writes=(File(CSV),))


class Params(Section):
    """``codec`` is the binary codec whose quality is explained, ``reference`` what it should retain, at ``k``."""

    codec: str
    reference: str
    k: Annotated[int, Constraint(ge=1)]
    settings: RelationSettings


def run(run: Run[Params]) -> None:
    """Relate every measure of geometry to Recall, its retention and Overlap."""
    settings, cells = run.params, list(run.study.cells())
    points = assemble(
        [run.labelled(GEOMETRY, keys) for keys in cells],
        [figures_of(run.labelled(QUALITY, keys)) for keys in cells],
        codec=settings.codec,
        reference=settings.reference,
        k=settings.k,
    )
    rows = note_samples(relate(points, settings.settings), points)
    write_file(run.layout, run.layout.root / CSV, csv_text(rows).encode())
    run.say(f"{len(cells)} cells × {points.sizes['bits']} lengths, {len(rows)} figures in {CSV}")
    for row in rows[rows["statistic"] == "verdict"].itertuples():
        run.say(
            f"{row.target} by {row.analysis}: {row.note} (N = {row.n_points} points, {row.n_cells} cells)"
        )
