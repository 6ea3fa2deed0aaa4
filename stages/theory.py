"""X2: every prediction of the closed form beside its measurement, over the study."""

import json

from analysis.quality.figures import join
from analysis.report.curves import png
from analysis.report.predictions import predicted_against_measured
from analysis.report.tables import csv_text
from analysis.theory.compare import beside, errors, predictable
from pipeline.stage import STUDY, File, Metrics, Run, Stage
from store.artifacts.predicted_quality import PREDICTED_QUALITY
from store.artifacts.quality import FURTHER_QUALITY, QUALITY
from store.leaf.commit import write_file

CSV = "report/predicted.csv"
METRICS = "report/predicted.json"
PICTURE = "report/plots/predicted.png"

STAGE = Stage(
    "theory",
    STUDY,
    reads=(PREDICTED_QUALITY, QUALITY, FURTHER_QUALITY),
    writes=(File(CSV), Metrics(METRICS), File(PICTURE)),
)


def run(run: Run[None]) -> None:
    """Write the table, the errors of each metric and cut-off, and the picture."""
    cells = list(run.study.cells())
    rows = beside(
        [run.labelled(PREDICTED_QUALITY, keys) for keys in cells],
        [
            join([predictable(run.labelled(schema, keys)) for schema in (QUALITY, FURTHER_QUALITY)])
            for keys in cells
        ],
    )
    found = errors(rows)
    write_file(run.layout, run.layout.root / CSV, csv_text(rows).encode())
    write_file(run.layout, run.layout.root / METRICS, (json.dumps(found, indent=2) + "\n").encode())
    write_file(run.layout, run.layout.root / PICTURE, png(predicted_against_measured(rows)))
    run.say(f"{len(cells)} cells, {len(rows)} predictions in {CSV}")
    for name, error in found.items():
        run.say(f"{name}: mean error {error['mean_error']:.3f}, greatest {error['greatest_error']:.3f}")
