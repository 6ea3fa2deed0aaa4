"""What is predicted of a cell: every cut-off of a plain search, and the one of re-scoring."""

from __future__ import annotations

import numpy as np

from analysis.quality.per_query import Judgements
from analysis.theory.cell import METRICS, expected_quality
from analysis.theory.prediction import Cut, predict

K, OVERSAMPLE, BITS = (1, 5, 20), (1, 4, 1000), (32, 128)


def test_every_search_has_its_place_and_what_is_not_predicted_is_nan() -> None:
    draw = np.random.RandomState(0)
    documents, queries = draw.standard_normal((80, 16)), draw.standard_normal((6, 16))
    judgements = Judgements.sorted(np.arange(6), np.arange(6), np.ones(6, int), 6)
    exclude = np.array([-1, 7, -1, -1, 9, -1])
    value = expected_quality(
        documents, queries, judgements, exclude, bits=BITS, k=K, rescored_k=5, oversample=OVERSAMPLE
    )
    assert value.shape == (len(METRICS), len(BITS), 1 + len(OVERSAMPLE), len(K))
    recall, overlap = value

    plain = predict(documents, queries, BITS, [Cut(k, k) for k in K], judgements, exclude)
    assert plain.recall is not None
    np.testing.assert_allclose(overlap[:, 0], plain.overlap.mean(axis=2), rtol=5e-6)
    np.testing.assert_allclose(recall[:, 0], plain.recall.mean(axis=2), rtol=5e-6)
    assert np.isnan(recall[:, 1:]).all()

    deep = predict(documents, queries, BITS, [Cut(5, 20)], exclude=exclude).overlap.mean(axis=2)[:, 0]
    np.testing.assert_allclose(overlap[:, 2, 1], deep, rtol=5e-6)
    # Once k is what a plain search finds, and all documents are all.
    np.testing.assert_array_equal(overlap[:, 1, 1], overlap[:, 0, 1])
    assert (overlap[:, 3, 1] == 1).all()
    assert np.isnan(overlap[:, 1:, [0, 2]]).all()


def test_figures_have_six_significant_digits() -> None:
    draw = np.random.RandomState(1)
    judgements = Judgements.sorted(np.arange(7), np.arange(7), np.ones(7, int), 7)
    value = expected_quality(
        draw.standard_normal((60, 8)),
        draw.standard_normal((7, 8)),
        judgements,
        np.full(7, -1),
        bits=(16,),
        k=(3,),
        rescored_k=3,
        oversample=(2,),
    )
    figures = value[np.isfinite(value)]
    assert len(figures) == 3
    assert all(float(f"{figure:.6g}") == figure for figure in figures)
