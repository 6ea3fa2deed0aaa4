"""What each measure of a cell's geometry is: description, unit, source and range by name."""

from __future__ import annotations

from dataclasses import dataclass

_INF = float("inf")


@dataclass(frozen=True)
class Measure:
    """Description, unit and source of a measure, and the range [low, high] its intervals are clipped to."""

    description: str
    unit: str
    source: str
    low: float
    high: float


_SIDE_MEASURES = {
    "mean_cosine": Measure(
        "mean cosine of two different rows (anisotropy)", "cosine", "Ethayarajh 2019", -1.0, 1.0
    ),
    "angular_spread": Measure(
        "standard deviation of the cosine of two different rows", "cosine", "Ethayarajh 2019", 0.0, 1.0
    ),
    "top_dimension_cosine": Measure(
        "largest contribution of one dimension to the mean cosine",
        "cosine",
        "Timkey & van Schijndel 2021",
        -1.0,
        1.0,
    ),
    "isoscore": Measure("IsoScore of the covariance spectrum", "1", "Rudman et al. 2022", 0.0, 1.0),
    "partition_score": Measure(
        "least over greatest partition function along the eigenvectors",
        "1",
        "Mu & Viswanath 2018",
        0.0,
        1.0,
    ),
    "effective_rank": Measure(
        "exp of the entropy of the centred singular values",
        "dimensions",
        "Roy & Vetterli 2007",
        1.0,
        _INF,
    ),
    "participation_ratio": Measure(
        "(Σλ)² / Σλ² of the covariance eigenvalues",
        "dimensions",
        "Gao et al. 2017",
        1.0,
        _INF,
    ),
    "twonn": Measure(
        "intrinsic dimension from two neighbours, linear fit", "dimensions", "Facco et al. 2017", 0.0, _INF
    ),
    "mle_dimension": Measure(
        "maximum-likelihood intrinsic dimension, inverses averaged",
        "dimensions",
        "Levina & Bickel 2004; MacKay & Ghahramani 2005",
        0.0,
        _INF,
    ),
    "outlier_dimensions": Measure(
        "share of dimensions with a mean or variance beyond the cut",
        "1",
        "Kovaleva et al. 2021",
        0.0,
        1.0,
    ),
    "top_dimension_variance_share": Measure(
        "share of the variance in one dimension, the largest",
        "1",
        "Timkey & van Schijndel 2021",
        0.0,
        1.0,
    ),
    "variance_heterogeneity": Measure(
        "coefficient of variation of the variances of the dimensions", "1", "arXiv 2605.17524", 0.0, _INF
    ),
    "hubness": Measure("skewness of the k-occurrence counts", "1", "Radovanović et al. 2010", -_INF, _INF),
    "sign_margin_median": Measure(
        "median |w·x| in standard deviations of w·x over the rows, Gaussian w",
        "standard deviations",
        "docs/geometry.md",
        0.0,
        _INF,
    ),
    "sign_margin_near_share": Measure("share of those margins near zero", "1", "docs/geometry.md", 0.0, 1.0),
    "coordinate_margin_median": Measure(
        "median |coordinate| in root mean squares of the row",
        "root mean squares",
        "docs/geometry.md",
        0.0,
        _INF,
    ),
    "coordinate_margin_near_share": Measure(
        "share of those margins near zero", "1", "docs/geometry.md", 0.0, 1.0
    ),
}

_GAP_MEASURES = {
    "mean_distance": Measure(
        "distance between the mean unit query and the mean unit document", "1", "Liang et al. 2022", 0.0, 2.0
    ),
    "direction_cosine": Measure(
        "cosine of the mean unit query and the mean unit document", "cosine", "Liang et al. 2022", -1.0, 1.0
    ),
    "mean_cosine": Measure("mean cosine of a query and a document", "cosine", "Ethayarajh 2019", -1.0, 1.0),
    "angular_spread": Measure(
        "standard deviation of the cosine of a query and a document", "cosine", "Ethayarajh 2019", 0.0, 1.0
    ),
    "hubness": Measure(
        "skewness of how often a query has a document in its k nearest",
        "1",
        "Radovanović et al. 2010",
        -_INF,
        _INF,
    ),
}

MEASURES: dict[str, Measure] = {
    **{f"{side}_{name}": m for side in ("documents", "queries") for name, m in _SIDE_MEASURES.items()},
    **{f"gap_{name}": m for name, m in _GAP_MEASURES.items()},
}
