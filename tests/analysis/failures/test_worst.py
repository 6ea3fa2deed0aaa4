"""The local report of the worst lost queries: their order, what displaced their documents, and the text."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analysis.failures.cell import NONE
from analysis.failures.compare import HAMMING_MARGIN, compare_codecs
from analysis.failures.worst import displacing_documents, markdown, wanted_documents, worst
from tests.analysis.failures.failed_queries import exact_rows, found_by, hand_made, seeds


def lost_queries(
    dataset: str,
    model: str,
    bits: int,
    loss: list[float],
    margins: list[float],
    self_row: tuple[int, ...] = (-1, -1, 5),
) -> xr.Dataset:
    """Three queries over six documents, of which those with a loss are lost."""
    truth = hand_made(self_row, model, dataset)
    binary = found_by("phase1", seeds([[4, 3], [5, 3], [3, 2]], [[4, 5], [5, 3], [3, 0]]), bits=bits)
    failures, _ = compare_codecs(truth, binary, found_by("pq", exact_rows(truth)[None], bits=bits), 0.5)
    lost = np.array(loss) > 0
    return (
        failures.isel(covariate=[0])
        .assign_coords(covariate=[HAMMING_MARGIN])
        .assign(
            lost=("query", lost),
            kept=("query", ~lost),
            loss=("query", loss),
            value=(("covariate", "query"), [margins]),
        )
    )


def test_the_worst_come_by_loss_then_margin_and_each_once() -> None:
    failures = [
        lost_queries("d", "m", 64, [1.0, 0.6, 0.0], [-0.1, -0.3, -0.9]),
        lost_queries("d", "m", 128, [1.0, 0.8, 0.0], [-0.2, -0.1, 0.0]),
        lost_queries("e", "m", 64, [1.0, 0.0, 0.8], [-0.15, 0.0, np.nan]),
    ]
    found = worst(failures, 10)
    where = [(one.failures.attrs["dataset"], one.failures.attrs["bits"], one.query) for one in found]
    assert where == [("d", 128, 0), ("e", 64, 0), ("d", 128, 1), ("e", 64, 2)]
    assert [(one.times, one.comparisons) for one in found] == [(2, 2), (1, 1), (2, 2), (1, 1)]
    assert [one.answer_row for one in found] == [0, 0, 3, 1]
    assert [(one.failures.attrs["bits"], one.query) for one in worst(failures, 2)] == [(128, 0), (64, 0)]


def test_displacing_documents_by_seeds_hubness_and_row() -> None:
    (found,) = worst([lost_queries("d", "m", 64, [1.0, 0, 0], [0.0, 0, 0])], 1)
    # 4 in both seeds; 5 in one, where two queries have it; 3 in one, where all three have it.
    assert [(one.row, one.seeds, one.occurrence) for one in found.displacing] == [
        (4, 2, 1.0),
        (3, 1, 3.0),
        (5, 1, 2.0),
    ]
    assert displacing_documents(found.failures, 0) == found.displacing
    assert wanted_documents([found]) == {"d": {0, 3, 4, 5}}


def test_the_local_report_shows_texts_as_they_are() -> None:
    found = worst([lost_queries("d", "m", 64, [1.0, 0, 0], [-0.125, 0, 0])], 1)
    documents = {row: f"document {row} " + "word " * 50 for row in range(6)}
    documents[0] = "```\n# not a heading | <b>"
    text = markdown("tiny", found, {"d": ["how\n```\nlong?", "", ""]}, {"d": documents})
    assert "# The worst lost queries of the study tiny" in text
    assert "m at 64 bits, k = 2: phase1 loses 1.000 of the recall of pq. Lost in 1 of 1" in text
    assert "query: how ``` long?\n" in text
    assert "relevant: ``` # not a heading | <b>\n" in text
    assert "instead (2 of 2 seeds, k-occurrence 1): document 4 " + "word " * 38 + "…\n" in text
    assert "| hamming_margin |\n| --- |\n| -0.125 |\n" in text
    assert [line for line in text.splitlines() if line.startswith("```")] == ["```text", "```"]


def test_a_lost_query_without_answer_and_no_lost_query_at_all() -> None:
    one = lost_queries("d", "m", 64, [1.0, 0, 0], [np.nan, 0, 0], self_row=(0, -1, -1))
    (found,) = worst([one], 1)
    assert found.answer_row == NONE
    assert NONE not in wanted_documents([found])["d"]
    assert "relevant: none" in markdown(
        "tiny", [found], {"d": ["q", "", ""]}, {"d": dict.fromkeys(range(6), "t")}
    )
    assert "No query is lost." in markdown("tiny", worst([], 5), {}, {})
