"""What people look at: the curves of quality against bytes, as data for DVC's plots and as pictures."""

from analysis.report.curves import CODECS, LABELS, TEMPLATE, curve_rows, missing_cells, png, quality_by_bytes
from analysis.report.tables import csv_text
from pipeline.stage import STUDY, Run, Stage
from store.artifacts.results import RESULTS
from store.leaf.commit import write_file

FOLDER = "report/plots"
CURVES = {"recall_at_10": ("recall", 10), "ndcg_at_10": ("ndcg", 10)}

STAGE = Stage(
    name="report",
    per=STUDY,
    reads=(RESULTS,),
    files=tuple(f"{FOLDER}/{name}.{kind}" for name in CURVES for kind in ("csv", "png")),
    plots=tuple(
        {
            f"{name} by bytes per vector": {
                "template": TEMPLATE,
                "x": "bytes_per_vector",
                "x_label": "bytes per vector",
                "y": {f"{FOLDER}/{name}.csv": "value"},
                "y_label": f"{LABELS[metric]}@{k}",
            }
        }
        for name, (metric, k) in CURVES.items()
    ),
)


def run(run: Run[None]) -> None:
    """Write each curve as CSV and PNG."""
    results = run.labelled(RESULTS).load()
    missing = missing_cells(results)
    for name, (metric, k) in CURVES.items():
        every = curve_rows(results, metric, k)
        # Seventeen codecs in one panel would hide one another: the table has them all.
        rows = every[every["codec"].isin(CODECS)]
        target = run.layout.root / FOLDER / name
        write_file(run.layout, target.with_suffix(".csv"), csv_text(rows).encode())
        write_file(run.layout, target.with_suffix(".png"), png(quality_by_bytes(rows, metric, k, missing)))
    run.say(f"{len(CURVES)} curves in {FOLDER}" + (f"; missing: {'; '.join(missing)}" if missing else ""))
