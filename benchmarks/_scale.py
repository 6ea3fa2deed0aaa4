"""The arithmetic of docs/scale.md, from what the suites measured: ``python -m benchmarks._scale``, or ``make scale``.

Nothing is measured here. If a suite has not run, or measured something else, the command says which rate is missing
and how to get it, and the page stays as it is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks._machine import FOLDER, ROOT
from benchmarks._proportions import Rates, tables
from store.errors import BitlakeError, InvalidInput, UnavailableResource

PAGE = ROOT / "docs" / "scale.md"
BEGIN, END = "<!-- written by `make scale` -->", "<!-- end -->"

_LAKE = "500,000 × 384 float16"
_OURS = "lake"


class Suite:
    """The figures of one suite."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file, self._name = folder / f"{name}.json", name
        try:
            self._figures = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UnavailableResource(
                f"report/benchmarks/{name}.json: is not there; run `python -m benchmarks.{name}` first"
            ) from None
        except ValueError:
            raise InvalidInput(
                f"report/benchmarks/{name}.json: is not JSON; run `python -m benchmarks.{name}` again"
            ) from None

    def value(self, *keys: str) -> Any:
        """The value under the keys; InvalidInput if there is none."""
        found = self._figures
        for key in keys:
            if not isinstance(found, dict) or key not in found:
                raise InvalidInput(
                    f"report/benchmarks/{self._name}.json: has no {' → '.join(keys)}; "
                    f"run `python -m benchmarks.{self._name}` without leaving anything out"
                )
            found = found[key]
        return found

    def number(self, *keys: str) -> float:
        """The number under the keys."""
        found = self.value(*keys)
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            raise InvalidInput(
                f"report/benchmarks/{self._name}.json: {' → '.join(keys)} is {found!r}, expected a number"
            )
        return float(found)


def rates(folder: Path = FOLDER) -> Rates:
    """The rates that the suites have measured."""
    lake, search, encode = (Suite(folder, name) for name in ("lake", "search", "encode"))
    documents, queries = search.number("documents"), search.number("queries")

    def compared(name: str, side: str) -> float:
        return documents * queries / search.number("seconds", name, side, "median_s")

    return Rates(
        dimension=int(lake.number("dimension")),
        device=str(encode.value("device", "processor")),
        encoded=dict(_encoded(encode)),
        read=1e9 * lake.number("rows", _LAKE, "read", "lake, in blocks", "gb_per_s"),
        written=1e9 * lake.number("rows", _LAKE, "write", _OURS, "gb_per_s"),
        coded={"Phase-1, 512 bits": documents / search.number("seconds", "binarize 512", _OURS, "median_s")},
        compared={
            "float16 vectors": compared("inner products", _OURS),
            "INT8 codes": compared("inner products", "lake, int8"),
            "PQ codes, 32 bytes": compared("pq 32", _OURS),
            "Phase-1 codes, 512 bits": compared("hamming 512", _OURS),
            "Phase-1 codes, 256 bits": compared("hamming 256", _OURS),
            "Phase-1 codes, 64 bits": compared("hamming 64", _OURS),
        },
    )


def _encoded(encode: Suite) -> Iterator[tuple[str, float]]:
    """Documents a second of each architecture, in the precision that the study is encoded in on that device."""
    precision = str(encode.value("e1", "precision"))
    for model in encode.value("architectures"):
        yield model, encode.number("architectures", model, "sides", precision, "documents_per_s")


def page(text: str, found: Rates) -> str:
    """The page with its tables written again."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InvalidInput(f"docs/scale.md: has no lines {BEGIN!r} and {END!r} between which the tables go")
    return f"{before}{BEGIN}\n\n{tables(found)}\n\n{END}{after}"


def main(folder: Path = FOLDER, target: Path = PAGE) -> int:
    """Write the tables of docs/scale.md."""
    try:
        target.write_text(page(target.read_text(encoding="utf-8"), rates(folder)), encoding="utf-8")
    except BitlakeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{target.name}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
