"""What people look at: the curves of quality against bytes, as data for DVC's plots and as pictures."""

from itertools import product

from analysis.quality.results import csv_text
from analysis.report.curves import CODECS, CURVE_COLUMNS, LABELS, TEMPLATE, curve_rows, png, quality_by_bytes
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
    results = run.open(RESULTS)
    axes = {name: results.strings(name) for name in ("model", "dataset", "codec", "metric")}
    axes |= {name: results.read(name).tolist() for name in ("bits", "k")}
    arrays = {name: results.read(name) for name in ("value", "ci_low", "ci_high")}
    undertrained = results.read("undertrained")
    missing = []
    if "missing" in results.paths:
        cells = product(axes["model"], axes["dataset"])
        said = zip(cells, results.read("missing").ravel().tolist(), strict=True)
        missing = [f"{model} × {dataset}: {what}" for (model, dataset), what in said if what]
    for name, (metric, k) in CURVES.items():
        every = curve_rows(axes, arrays, undertrained, metric, k)
        # Seventeen codecs in one panel would hide one another: the table has them all.
        rows = [row for row in every if row["codec"] in CODECS]
        target = run.layout.root / FOLDER / name
        write_file(run.layout, target.with_suffix(".csv"), csv_text(rows, CURVE_COLUMNS).encode())
        write_file(run.layout, target.with_suffix(".png"), png(quality_by_bytes(rows, metric, k, missing)))
    run.say(f"{len(CURVES)} curves in {FOLDER}" + (f"; missing: {'; '.join(missing)}" if missing else ""))
