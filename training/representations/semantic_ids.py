"""Semantic ids: a few codes for each item, coarse to fine, from a given table (https://arxiv.org/abs/2305.05065).

The codes of each level are tokens of their own, so a code of the first level and the same number in the second are two
tokens. Behind them come the token that begins every prompt and the one that fills up lines.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from contracts.config import SemanticIds
from training.io.ragged import Ragged
from training.representations.token_lists import TokenLists, refuse_ambiguity

Codes = dict[str, list[int | str]]
WANTED = "a JSON object of lists, or Parquet with the columns item and codes, with integers or text as codes"


def semantic_id_lists(config: SemanticIds, path: Path, items: list[str]) -> TokenLists:
    """The token lists of a catalogue.

    Args:
        config: of the experiment.
        path: of the code table.
        items: the publisher's id of each item, in the order of item_id.

    Raises:
        ValueError: a table that cannot be read, an item without codes, or two items with the same codes.
    """
    table = read_codes(path)
    advice = "Give each item a list of codes of its own."
    if config.keys == "rank":
        if len(table) != len(items):
            raise ValueError(
                f"{path} must have a code list for each of the {len(items)} items, as its keys are their ranks, got "
                f"{len(table)}. Turn off what drops items (cleaning.k_core), or name the items in the table."
            )
        ranked = {item: str(rank) for rank, item in enumerate(sorted(items))}
        rows = [table.get(ranked[item]) for item in items]
    else:
        rows = [table.get(item) for item in items]
    missing = [item for item, row in zip(items, rows, strict=True) if not row]
    if missing:
        raise ValueError(
            f"{path} must have codes for every item of the catalogue, got none for {len(missing)} of {len(items)} "
            f"items, the first {missing[0]!r} (the table's keys look like {next(iter(table), None)!r}). {advice}"
        )
    codes = [row for row in rows if row]
    depths = sorted({len(row) for row in codes})
    if len(depths) > 1:
        odd = next(item for item, row in zip(items, codes, strict=True) if len(row) != depths[-1])
        raise ValueError(f"{path} must have as many codes for each item, got {depths}, the first for {odd!r}. {advice}")
    if config.extend:
        codes = _extended(codes)
    n_levels = len(codes[0])
    tokens, n_codes = np.zeros((len(items), n_levels), dtype=np.int64), 0
    for level in range(n_levels):
        column = [row[level] for row in codes]
        known = sorted(set(column), key=lambda code: (str(type(code)), code))
        place = {code: n_codes + k for k, code in enumerate(known)}
        tokens[:, level] = [place[code] for code in column]
        n_codes += len(known)
    lists = Ragged(tokens.reshape(-1), np.arange(len(items) + 1) * n_levels)
    refuse_ambiguity(
        lists, items, f"codes in {path}", "Set representation.extend, which adds a code that tells them apart."
    )
    nothing = np.zeros(0, dtype=np.int64)
    return TokenLists(n_codes + 2, n_codes, n_codes + 1, np.array([n_codes]), nothing, lists, lists)


def read_codes(path: Path) -> Codes:
    """Item → codes, from JSON (also gzipped) or from Parquet with the columns `item` and `codes`.

    Raises:
        ValueError: a table that cannot be read, an item that is missing or is there twice, or a code that is
            neither an integer nor text; the row is named.
    """
    try:
        rows = _parquet_rows(path) if path.suffix == ".parquet" else _json_rows(path)
    except FileNotFoundError as error:
        raise ValueError(f"representation.table must be a file that exists, got {path}. Put it there.") from error
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} must be {WANTED}, got: {error}. Write it anew.") from error
    codes: Codes = {}
    for number, (item, of_item) in enumerate(rows, start=1):
        wrong = _what_is_wrong(item, of_item)
        if wrong is None and str(item) in codes:
            wrong = "which has codes in a row before"
        if wrong is not None:
            raise ValueError(f"{path} must be {WANTED}, got row {number}, item {item!r}, {wrong}. Write it anew.")
        codes[str(item)] = of_item
    return codes


def _parquet_rows(path: Path) -> list[tuple[Any, Any]]:
    table = pq.read_table(path, columns=["item", "codes"])
    return list(zip(table["item"].to_pylist(), table["codes"].to_pylist(), strict=True))


def _json_rows(path: Path) -> list[tuple[Any, Any]]:
    content = path.read_bytes()
    found = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content, object_pairs_hook=_Pairs)
    if not isinstance(found, _Pairs):
        raise ValueError(type(found).__name__)
    return found


class _Pairs(list[tuple[Any, Any]]):
    """A JSON object with the keys that stand in it twice."""


def _what_is_wrong(item: Any, codes: Any) -> str | None:
    if not _is_name(item):
        return "which is neither an integer nor text"
    if not isinstance(codes, list) or isinstance(codes, _Pairs):
        return f"whose codes are {codes!r} and no list"
    odd = [code for code in codes if not _is_name(code)]
    return f"with {odd[0]!r} among its codes" if odd else None


def _is_name(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)  # True would be taken for 1


def _extended(codes: list[list[int | str]]) -> list[list[int | str]]:
    """One code more: how many items before have the same ones."""
    counts: dict[tuple[int | str, ...], int] = {}
    longer: list[list[int | str]] = []
    for row in codes:
        n = counts.get(tuple(row), 0)
        counts[tuple(row)] = n + 1
        longer.append([*row, n])
    return longer
