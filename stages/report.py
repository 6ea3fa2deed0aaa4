"""What people look at: the curves of quality against bytes, as data for DVC's plots and as pictures."""

from analysis.report.curves import CODECS, LABELS, TEMPLATE, curve_rows, missing_cells, png, quality_by_bytes
from analysis.report.tables import csv_text
from pipeline.stage import STUDY, File, Plot, Run, Stage
from store.artifacts.results import RESULTS
from store.leaf.commit import write_file

FOLDER = "report/plots"
CURVES = {"recall_at_10": ("recall", 10), "ndcg_at_10": ("ndcg", 10)}


def _curve(path: str, name: str, metric: str, k: int) -> Plot:
    return Plot(
        path,
        f"{name} by bytes per vector",
        {
            "template": TEMPLATE,
            "x": "bytes_per_vector",
            "x_label": "bytes per vector",
            "y": {path: "value"},
            "y_label": f"{LABELS[metric]}@{k}",
        },
    )


STAGE = Stage(
    "report",
    STUDY,
    reads=(RESULTS,),
    writes=tuple(
        file
        for name, (metric, k) in CURVES.items()
        for file in (_curve(f"{FOLDER}/{name}.csv", name, metric, k), File(f"{FOLDER}/{name}.png"))
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
