"""Amazon reviews of one category, JSON lines, in the layouts of 2014, 2018 and 2023.

One reader: a field is looked for under the names it has had. User `user_id` or `reviewerID`, item `parent_asin` or
`asin`, rating `rating` or `overall`, time `timestamp` (milliseconds) or `unixReviewTime` (seconds, of the day). The
metadata of 2014 are Python literals and become JSON before they are read; nothing in them is executed.

An item without metadata, or whose metadata have no title, is called by its id.
"""

import ast
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl

from assets.sources.contract import MissingRawFile, RawTables, SourceCard
from assets.sources.files import RawFile, find
from assets.sources.reader import json_lines
from assets.sources.reader.columns import Mapped, Row, identifier, item_row, log_row, number, unix_time, words
from assets.sources.reader.tables import Part, read_items, read_log, with_unlisted
from assets.sources.reader.text import TextForm, whole_lines
from contracts.config.sources import AmazonSource

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

_FORM = TextForm("utf-8", _MAX_BYTES)
_FIRST_DAY = "1995-01-01"  # Amazon opened in July
_REVIEWS = ("user_id", "reviewerID", "parent_asin", "asin", "rating", "overall", "timestamp", "unixReviewTime")
_METADATA = ("parent_asin", "asin", "title", "categories", "category", "main_category", "description")


def card(config: AmazonSource) -> SourceCard:
    """Where the files come from."""
    files = [config.reviews] + ([config.metadata] if config.metadata else [])
    return SourceCard(
        title=f"Amazon reviews {config.year}, {config.category}",
        files=(" and ".join(files),),
        page=_PAGES[config.year],
        terms=f"No licence is stated; research use is customary; cite {_PAPERS[config.year]}.",
        published=config.published,
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
    log = read_log([_part(found[0], _REVIEWS, _review)], share, scratch)
    if config.metadata is None:
        return RawTables(log.interactions, with_unlisted(None, log.items), log.quarantine.sort("file", "line"))
    metadata = _as_json(found[1], scratch) if config.year == 2014 else found[1]
    listed, bad = read_items([_part(metadata, _METADATA, _product)], share, may_repeat=True)
    return RawTables(
        log.interactions,
        with_unlisted(listed, log.items).sort("item"),
        pl.concat([log.quarantine, bad]).sort("file", "line"),
    )


def _part(file: RawFile, keys: tuple[str, ...], row: Callable[[pl.DataFrame], Row]) -> Part:
    return Part(file.name, lambda: json_lines.chunks(file, _FORM, keys, nested=True), row)


def _review(records: pl.DataFrame) -> Row:
    in_milliseconds = unix_time(records["timestamp"], per_second=1000, earliest=_FIRST_DAY)
    in_seconds = unix_time(records["unixReviewTime"], earliest=_FIRST_DAY)
    counts_milliseconds = (records["timestamp"] != "").fill_null(False)
    given = {
        "user": identifier(_first(records, "user_id", "reviewerID"), "user id"),
        "item": identifier(_first(records, "parent_asin", "asin"), "item id"),
        "weight": number(_first(records, "rating", "overall"), "rating", 1, 5),
        "at": Mapped(
            in_milliseconds.values.zip_with(counts_milliseconds, in_seconds.values),
            in_milliseconds.is_broken.zip_with(counts_milliseconds, in_seconds.is_broken),
            "time must be whole seconds or milliseconds since 1970, from 1995, not in the future",
        ),
    }
    return log_row(records.height, given)


def _product(records: pl.DataFrame) -> Row:
    item = identifier(_first(records, "parent_asin", "asin"), "item id")
    title = words(records["title"], "title")
    categories = _first(records, "categories", "category", "main_category")
    given = {
        "item": item,
        "title": replace(title, values=title.values.fill_null(item.values)),
        "category": words(categories.map_elements(lambda text: _joined(text, "|"), pl.String), "category"),
        "text": words(records["description"].map_elements(lambda text: _joined(text, " "), pl.String), "description"),
    }
    return item_row(records.height, given)


def _first(records: pl.DataFrame, *keys: str) -> pl.Series:
    """The first of the keys that an object has."""
    return records.select(pl.coalesce(keys)).to_series()


def _joined(text: str, separator: str) -> str:
    """A text, or the texts of a list that is written as JSON; of a list of lists, as in 2014, the first list."""
    if not text.startswith("["):
        return text
    try:
        values = json.loads(text)
    except ValueError:
        return text
    if values and isinstance(values[0], list):
        values = values[0]
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values if value is not None]
    return separator.join(text for text in texts if text.strip())


def _as_json(source: RawFile, scratch: Path) -> RawFile:
    """A file of Python literals as JSON lines, line for line; a line of anything else stays, to be set aside."""
    path = scratch / "metadata.jsonl"
    with path.open("w", encoding="utf-8") as out:
        for _, lines in whole_lines(source, _FORM):
            out.writelines(_json_of_literal(line.decode()) + "\n" for line in lines)
    return RawFile(path, None, source.name)


def _json_of_literal(line: str) -> str:
    try:
        value = ast.literal_eval(line)
        return json.dumps(value, allow_nan=False) if isinstance(value, dict) else line
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return line
