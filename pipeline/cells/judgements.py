"""The judgements of a dataset, from its leaf to what quality is computed from."""

from analysis.quality.per_query import Judgements
from store.leaf.reading import Leaf


def read_judgements(leaf: Leaf) -> Judgements:
    """The judged pairs of a judgements leaf."""
    return Judgements.sorted(
        leaf.read("judged_query"), leaf.read("judged_document"), leaf.read("relevance"), leaf.size("query")
    )
