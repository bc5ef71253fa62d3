"""Amazon reviews of one category, JSON lines, in the layouts of 2014, 2018 and 2023.

One reader: a field is looked for under the names it has had. User `user_id` or `reviewerID`, item `parent_asin` or
`asin`, rating `rating` or `overall`, time `timestamp` (milliseconds) or `unixReviewTime` (seconds, of the day). The
metadata of 2014 are Python literals and become JSON before they are read; nothing in them is executed.

An item without metadata, or whose metadata have no title, is called by its id.
"""

import ast
import json
from pathlib import Path

import polars as pl

from assets.sources.catalogue import WHOLE_LINE, interactions, read_items
from assets.sources.contract import MissingRawFile, PublishedStatistics, RawTables, SourceCard
from assets.sources.files import RawFile, find, numbered_lines
from assets.sources.lines import JsonObjects, is_no_id, is_no_number, is_no_time
from assets.sources.text import Layout, read_lines
from contracts.config.dataset import AmazonSource

_PAGES = {
    2014: "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",
    2018: "https://nijianmo.github.io/amazon/index.html",
    2023: "https://amazon-reviews-2023.github.io/",
}
_PAPERS = {
    2014: "McAuley, Targett, Shi and van den Hengel 2015 (https://arxiv.org/abs/1506.04757)",
    2018: "Ni, Li and McAuley 2019 (https://aclanthology.org/D19-1018/)",
    2023: "Hou et al. 2024 (https://arxiv.org/abs/2403.03952)",
}
_MAX_BYTES = 100_000_000_000

_MILLISECONDS = is_no_time("milliseconds", per_second=1000, earliest="1995-01-01")
_SECONDS = is_no_time("seconds", earliest="1995-01-01")
_REVIEWS = Layout(
    lines=JsonObjects(
        (
            ("user_id", "reviewerID"),
            ("parent_asin", "asin"),
            ("rating", "overall"),
            ("timestamp",),
            ("unixReviewTime",),
        )
    ),
    fields=("user_field", "item_field", "rating_field", "milliseconds", "seconds"),
    encoding="utf-8-sig",
    rules={
        "user id must be 1 to 200 characters": is_no_id("user_field"),
        "item id must be 1 to 200 characters": is_no_id("item_field"),
        "rating must be a number from 1 to 5": is_no_number("rating_field", 1, 5),
        "time must be whole seconds or milliseconds since 1970, from 1995, not in the future": (
            f"CASE WHEN milliseconds <> '' THEN {_MILLISECONDS} ELSE {_SECONDS} END"
        ),
    },
    select={
        "user": "trim(user_field)",
        "item": "trim(item_field)",
        "epoch": "coalesce(try_cast(nullif(milliseconds, '') AS BIGINT), 1000 * try_cast(seconds AS BIGINT))",
        "weight": "try_cast(rating_field AS FLOAT)",
    },
    max_bytes=_MAX_BYTES,
)


def _joined(field: str, separator: str) -> str:
    """The text of a field that is a text, or a list of texts written as JSON."""
    is_list = f"json_type(CASE WHEN starts_with({field}, '[') AND json_valid({field}) THEN {field} END) = 'ARRAY'"
    texts = f"list_filter(json_extract_string({field}, '$[*]'), lambda t: trim(coalesce(t, '')) <> '')"
    return f"nullif(trim(CASE WHEN {is_list} THEN array_to_string({texts}, '{separator}') ELSE {field} END), '')"


_METADATA = Layout(
    lines=JsonObjects(
        (
            ("parent_asin", "asin"),
            ("title",),
            ("categories[0][0]",),
            ("categories[0]",),
            ("categories", "category", "main_category"),
            ("description",),
        )
    ),
    fields=("item_field", "title_field", "nested", "first_category", "all_categories", "description"),
    encoding="utf-8-sig",
    rules={"item id must be 1 to 200 characters": is_no_id("item_field")},
    select={
        "item": "trim(item_field)",
        "title": "coalesce(nullif(trim(title_field), ''), trim(item_field))",
        # In 2014 a product has several paths of categories, of which the first is taken.
        "category": _joined("CASE WHEN nested <> '' THEN first_category ELSE all_categories END", "|"),
        "text": _joined("description", " "),
        "whole_line": WHOLE_LINE,
    },
    max_bytes=_MAX_BYTES,
)


def card(config: AmazonSource) -> SourceCard:
    """Where the files come from."""
    files = [config.reviews] + ([config.metadata] if config.metadata else [])
    return SourceCard(
        title=f"Amazon reviews {config.year}, {config.category}",
        files=(" and ".join(files),),
        page=_PAGES[config.year],
        terms=f"No licence is stated; research use is customary; cite {_PAPERS[config.year]}.",
        published=PublishedStatistics(**config.published.model_dump()),
    )


def locate(config: AmazonSource, folder: Path) -> list[RawFile]:
    """The reviews, and the metadata when there are any.

    Raises:
        MissingRawFile: a file is not in `folder`.
    """
    found = find(folder, None, (config.reviews, config.metadata) if config.metadata else (config.reviews,))
    if found is None:
        raise MissingRawFile(card(config), folder)
    return found


def read(config: AmazonSource, folder: Path, scratch: Path) -> RawTables:
    """Reviews as interactions whose weight is the rating, products as items.

    Raises:
        MissingRawFile: a file is not in `folder`.
        UnusableSource: a file is not what was published, or too many of its lines are unusable.
    """
    share = config.max_quarantined_share
    found = locate(config, folder)
    lines, bad = read_lines(found[0], _REVIEWS, scratch, share)
    reviewed = lines.select(item=pl.col("item").unique()).collect(engine="streaming")
    none = pl.lit(None, pl.String)
    items = reviewed.sort("item").with_columns(title=pl.col("item"), category=none, text=none)
    if config.metadata is not None:
        metadata = _as_json(found[1], scratch) if config.year == 2014 else found[1]
        listed, bad_metadata = read_items(metadata, _METADATA, scratch, share, may_repeat=True)
        items = pl.concat([listed, items.join(listed, on="item", how="anti")]).sort("item")
        bad = pl.concat([bad, bad_metadata])
    return RawTables(
        interactions=interactions(lines, per_second=1000),
        items=items,
        quarantine=bad.sort("file", "line"),
    )


def _as_json(source: RawFile, scratch: Path) -> RawFile:
    """A file of Python literals as JSON lines, line for line; what is no literal stays as it is, to be set aside."""
    path = scratch / "metadata.jsonl"
    written = 0
    with path.open("w", encoding="utf-8") as out:
        for batch in numbered_lines(source, _METADATA.encoding, _METADATA.max_bytes):
            for number, line in zip(batch["number"].to_pylist(), batch["text"].to_pylist(), strict=True):
                out.write("\n" * (number - written - 1) + _json_of_literal(line) + "\n")
                written = number
    return RawFile(path, None, source.name)


def _json_of_literal(line: str) -> str:
    try:
        value = ast.literal_eval(line)
        return json.dumps(value, allow_nan=False) if isinstance(value, dict) else line
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return line
