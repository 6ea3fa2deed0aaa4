"""X2: every prediction of the closed form beside its measurement, over the study."""

from analysis.quality.figures import join
from analysis.report.curves import png
from analysis.report.predictions import predicted_against_measured
from analysis.report.tables import csv_text
from analysis.theory.compare import beside, errors, predictable
from pipeline.stage import STUDY, File, Run, Stage
from store.artifacts.predicted_quality import PREDICTED_QUALITY
from store.artifacts.quality import FURTHER_QUALITY, QUALITY
from store.leaf.commit import write_file

CSV = "report/predicted.csv"
ERRORS = "report/predicted_errors.csv"
PICTURE = "report/plots/predicted.png"

STAGE = Stage(
    "theory",
    STUDY,
    reads=(PREDICTED_QUALITY, QUALITY, FURTHER_QUALITY),
    writes=(File(CSV), File(ERRORS), File(PICTURE)),
)


def run(run: Run[None]) -> None:
    """Write the table, the errors of each search, metric and cut-off, and the picture."""
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
    write_file(run.layout, run.layout.root / ERRORS, csv_text(found).encode())
    write_file(run.layout, run.layout.root / PICTURE, png(predicted_against_measured(rows)))
    run.say(f"{len(cells)} cells, {len(rows)} predictions in {CSV}")
    for row in found.itertuples():
        search = f" re-scored, oversample {row.oversample}" if row.rescore else ""
        error = f"mean error {row.mean_error:.3f}, greatest {row.greatest_error:.3f}"
        run.say(f"{row.metric}@{row.k}{search}: {error}")
