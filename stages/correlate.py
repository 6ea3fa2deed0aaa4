"""E8: the observational relation between the geometry of cells and the quality of their binary codes."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Constraint

from analysis.quality.results import CellQuality, csv_text, figures_of, is_plain
from analysis.relation.assemble import assemble
from analysis.relation.relate import RelationSettings, Row, relate
from pipeline.cell_quality import read_quality
from pipeline.stage import STUDY, Run, Section, Stage
from store.artifacts.geometry import GEOMETRY
from store.artifacts.quality import QUALITY
from store.errors import InvalidInput
from store.leaf.commit import write_file

CSV = "report/relation.csv"
METRICS = ("recall", "overlap")

STAGE = Stage(name="correlate", per=STUDY, section="correlate", reads=(QUALITY, GEOMETRY), files=(CSV,))


class Params(Section):
    """``codec`` is the binary codec whose quality is explained, ``reference`` what it should retain, at ``k``."""

    codec: str
    reference: str
    k: Annotated[int, Constraint(ge=1)]
    settings: RelationSettings


def run(run: Run[Params]) -> None:
    """Relate every measure of geometry to Recall, its retention and Overlap."""
    settings = run.params
    geometry, float_recall = {}, {}
    found: dict[tuple[str, str], dict[str, dict[int, float]]] = {}
    for keys in run.study.cells():
        cell = (keys["model"], keys["dataset"])
        leaf, quality = run.open(GEOMETRY, keys), read_quality(run.open(QUALITY, keys))
        geometry[cell] = dict(zip(leaf.strings("measure"), leaf.read("value").tolist(), strict=True))
        float_recall[cell] = max(_figures(quality, "reference", settings)["recall"].values())
        found[cell] = _figures(quality, "codec", settings)
    # Sweeps of cells may differ: every cell gives the same points.
    bits = sorted(set.intersection(*(set(metrics["recall"]) for metrics in found.values())))
    if not bits:
        raise InvalidInput(
            f"correlate.codec: no length of {settings.codec} was searched in every cell; "
            "give the cells of study.sweeps one in common"
        )
    values: dict[str, dict[tuple[str, str], NDArray[np.float64]]] = {
        metric: {cell: np.array([of[metric][length] for length in bits]) for cell, of in found.items()}
        for metric in METRICS
    }
    relation = relate(assemble(geometry, values, float_recall, bits, run.params.k), run.params.settings)
    rows = relation.records()
    write_file(run.layout, run.layout.root / CSV, csv_text(rows, list(Row.__dataclass_fields__)).encode())
    run.say(f"{len(geometry)} cells × {len(bits)} lengths, {len(rows)} figures in {CSV}")
    for row in relation.select(statistic="verdict"):
        run.say(
            f"{row.target} by {row.analysis}: {row.note} (N = {row.n_points} points, {row.n_cells} cells)"
        )


def _figures(cell: CellQuality, setting: str, params: Params) -> dict[str, dict[int, float]]:
    """Recall and Overlap of a codec as such by its bits."""
    codec = getattr(params, setting)
    configurations, figures = figures_of(cell)
    lengths = {one.bits: i for i, one in enumerate(configurations) if one.codec == codec and is_plain(one)}
    if not lengths:
        known = ", ".join(sorted({one.codec for one in configurations}))
        raise InvalidInput(
            f"correlate.{setting}: {codec!r} is not one of the core's codecs; choose one of {known}"
        )
    at = list(cell.ks).index(params.k)
    return {
        metric: {bits: float(figures[i, list(cell.metrics).index(metric), at]) for bits, i in lengths.items()}
        for metric in METRICS
    }
