"""E8: the observational relation between the geometry of cells and the quality of their binary codes."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Constraint

from analysis.points import assemble
from analysis.relation import RelationSettings, Row, relate
from analysis.results import csv_text
from stages.stage import STUDY, Run, Section, Stage
from store.artifacts.geometry import GEOMETRY
from store.artifacts.results import RESULTS
from store.commit import write_file

CSV = "report/relation.csv"

STAGE = Stage(name="correlate", per=STUDY, section="correlate", reads=(RESULTS, GEOMETRY), files=(CSV,))


class Params(Section):
    """``codec`` is the binary codec whose quality is explained, ``reference`` what it should retain, at ``k``."""

    codec: str
    reference: str
    k: Annotated[int, Constraint(ge=1)]
    settings: RelationSettings


def run(run: Run[Params]) -> None:
    """Relate every measure of geometry to Recall, its retention and Overlap."""
    results = run.open(RESULTS)
    axes = {name: results.strings(name) for name in ("model", "dataset", "codec", "metric")}
    codec, reference = (axes["codec"].index(name) for name in (run.params.codec, run.params.reference))
    value = results.read("value")[..., results.read("k").tolist().index(run.params.k)]
    # The cube has a place for every length of every codec; a codec's own are those with a value.
    lengths = [i for i in range(value.shape[3]) if not np.isnan(value[:, :, codec, i]).all()]
    recall = axes["metric"].index("recall")
    geometry, float_recall = {}, {}
    values: dict[str, dict[tuple[str, str], NDArray[np.float64]]] = {"recall": {}, "overlap": {}}
    for keys in run.study.cells():
        cell = (keys["model"], keys["dataset"])
        where = (axes["model"].index(cell[0]), axes["dataset"].index(cell[1]))
        leaf = run.open(GEOMETRY, keys)
        geometry[cell] = dict(zip(leaf.strings("measure"), leaf.read("value").tolist(), strict=True))
        float_recall[cell] = float(np.nanmax(value[(*where, reference)][:, recall]))
        for metric in values:
            values[metric][cell] = value[(*where, codec)][lengths, axes["metric"].index(metric)]
    bits = results.read("bits")[lengths].tolist()
    relation = relate(assemble(geometry, values, float_recall, bits, run.params.k), run.params.settings)
    rows = relation.records()
    write_file(run.layout, run.layout.root / CSV, csv_text(rows, list(Row.__dataclass_fields__)).encode())
    run.say(f"{len(geometry)} cells × {len(bits)} lengths, {len(rows)} figures in {CSV}")
    for row in relation.select(statistic="verdict"):
        run.say(
            f"{row.target} by {row.analysis}: {row.note} (N = {row.n_points} points, {row.n_cells} cells)"
        )
