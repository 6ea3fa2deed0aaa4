"""The truth of a cell and the searches of a codec: answers by hand, labels, scores of judged pairs."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from analysis.failures.cell import answers, judged_scores, searches
from analysis.quality.per_query import Judgements
from store.artifacts.configuration import Configuration, columns_of
from store.errors import InvalidInput
from tests.analysis.failures.failed_queries import hand_made
from tests.analysis.quality.labelled_cells import shuffled


def test_the_answer_is_the_best_relevant_document_that_may_be_found() -> None:
    # Query 1: the better judged document is not relevant. Query 2: itself is left out, of equal scores the smaller row.
    assert answers(hand_made()).tolist() == [0, 2, 3]


def neighbours() -> xr.Dataset:
    """Phase-1 of 64 bits with two seeds, the later one first, and of 128 bits; a variant, and PQ."""
    configurations = [
        Configuration("phase1", "", "hamming", 64, 8, seed=1),
        Configuration("phase1", "", "hamming", 128, 16, seed=0),
        Configuration("phase1", "mean", "hamming", 64, 8, seed=0),
        Configuration("pq", "", "inner-product", 64, 8, seed=0),
        Configuration("phase1", "", "hamming", 64, 8, seed=0),
    ]
    columns = {
        name: ("configuration", np.array(column)) for name, column in columns_of(configurations).items()
    }
    dims = ("configuration", "query", "rank")
    numbers = np.arange(5 * 2 * 3, dtype=np.int32).reshape(5, 2, 3)
    return xr.Dataset(
        {
            "rows": (dims, numbers),
            "scores": (dims, 100.0 + numbers),
            "judged_distance": (("configuration", "judgement"), np.arange(20).reshape(5, 4)),
        },
        coords=columns,
        attrs={"undertrained": ["pq"]},
    )


def test_searches_of_a_codec_are_found_by_their_labels() -> None:
    for data in (neighbours(), shuffled(neighbours(), "query", "rank", "judgement")):
        of_binary, of_pq = searches(data, "phase1", 2, "codec"), searches(data, "pq", 2, "reference")
        assert sorted(of_binary) == [64, 128]
        assert list(of_pq) == [64]
        two = of_binary[64].transpose("seed", "query", "rank", "judgement")
        assert two["rows"].values.tolist() == [[[24, 25], [27, 28]], [[0, 1], [3, 4]]]
        assert two["kth_distance"].values.tolist() == [[125, 128], [101, 104]]
        assert two["judged_distance"].values.tolist() == [[16, 17, 18, 19], [0, 1, 2, 3]]
        assert two.attrs == {"codec": "phase1", "bits": 64, "undertrained": False}
        assert of_pq[64].attrs == {"codec": "pq", "bits": 64, "undertrained": True}
        # Distances are Hamming distances, or there are none.
        assert set(of_pq[64]) == {"rows"}


def test_what_was_not_searched_is_named() -> None:
    with pytest.raises(
        InvalidInput, match=r"failures\.k: 4 is more than the 3 ranks that were searched; lower"
    ):
        searches(neighbours(), "phase1", 4, "codec")
    with pytest.raises(
        InvalidInput, match=r"failures\.codec: 'itq' was not searched; choose one of phase1, pq"
    ):
        searches(neighbours(), "itq", 2, "codec")


@pytest.mark.parametrize("block", [1, 3, 10])
def test_scores_of_judged_pairs_do_not_depend_on_blocks(block: int) -> None:
    random = np.random.RandomState(0)
    vectors = random.standard_normal((10, 16))
    documents = (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float16)
    judgements = Judgements.sorted([0, 0, 1, 2], [9, 2, 0, 5], [1, 1, 1, 1], 3)
    queries = documents[[3, 4, 5]]
    scores = judged_scores(
        queries, ((at, documents[at : at + block]) for at in range(0, 10, block)), judgements
    )
    pairs = zip(judgements.query, judgements.document, strict=True)
    expected = [
        sum(float(a) * float(b) for a, b in zip(queries[q], documents[d], strict=True)) for q, d in pairs
    ]
    assert scores.tolist() == expected
    with pytest.raises(InvalidInput, match="document row 5 has no vector"):
        judged_scores(queries, [(0, documents[:3])], Judgements.sorted([0, 1, 2], [0, 5, 1], [1, 1, 1], 3))
