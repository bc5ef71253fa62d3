"""Where the raw files of a data set come from and how they are written: one class for each `kind` of `source`.

What happens to the rows once they are read (cleaning, split, histories, candidates) is in `dataset`.
"""

import re
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from contracts.config.identity import Frozen


def _inner_path(text: str) -> str:
    path = PurePosixPath(text)
    if not text.strip() or "\0" in text or "\\" in text or text.startswith("~") or path.is_absolute():
        raise ValueError(
            f"must be a path below the data set's raw folder, got {text!r}. Write it relative to that folder"
        )
    if ".." in path.parts:
        raise ValueError(f"must not leave the data set's raw folder, got {text!r}. Put the files there, without '..'")
    return text


InnerPath = Annotated[str, AfterValidator(_inner_path)]
"""A file, folder or glob below the data set's raw folder, with forward slashes."""


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,127}", name):
        raise ValueError(
            f"must be one plain name of letters, digits, spaces and . _ + -, got {name!r}. Put the file or folder "
            "itself there; a path is not taken."
        )
    return name


PlainName = Annotated[str, AfterValidator(_plain_name)]
"""The name of a file or folder, which cannot leave the folder it is looked for in."""


class DemoSource(Frozen):
    """The built-in simulated shop; see `assets/sources/demo.py` for its mechanism."""

    kind: Literal["demo"]
    users: int = Field(8000, ge=50, le=1_000_000)
    items: int = Field(1200, ge=50, le=100_000)
    seed: int = Field(0, ge=0)


class FileSource(Frozen):
    """What every source that reads files has."""

    max_quarantined_share: float = Field(default=0.01, ge=0, le=1)
    """A file of which more rows than this share cannot be used is refused: it is not what its name says."""


class MovieLensSource(FileSource):
    """A MovieLens release, as its official zip or unpacked."""

    kind: Literal["movielens"]
    release: Literal["100k", "1m", "10m", "20m", "25m", "32m", "latest-small", "latest"]
    ratings: PlainName | None = None
    """Another file of ratings in the release's own layout, plain or .gz; the published one when absent."""


class LastfmSource(FileSource):
    """HetRec 2011 Last.fm, as its official zip or unpacked."""

    kind: Literal["lastfm"]
    interactions: Literal["listens", "tags"]
    """Play counts, which have no time, or tag assignments, which have the month."""


class SteamSource(FileSource):
    """Steam purchases and hours of play (steam-200k), as its CSV file or as the zip of CaseRecommender."""

    kind: Literal["steam"]


class OnlineRetailSource(FileSource):
    """Online Retail II: the invoice lines of a shop, as the official spreadsheet or as Parquet."""

    kind: Literal["online_retail"]
    files: tuple[PlainName, ...] = ()
    """Parquet files with the columns of the spreadsheet; the official spreadsheet when empty."""


class StatedCounts(Frozen):
    """What the makers of a data set state about it; an absent count is not stated."""

    interactions: int | None = Field(default=None, ge=1)
    users: int | None = Field(default=None, ge=1)
    items: int | None = Field(default=None, ge=1)
    """Items that were interacted with."""
    catalogue: int | None = Field(default=None, ge=1, exclude=True)
    """Items in the makers' list, also those that nobody touched. Excluded from the identity, as `note` is: neither
    changes what is read, and raw tables of before stay current."""
    note: str | None = Field(default=None, min_length=1, exclude=True)
    """Why what is read may differ from what is stated."""


class AmazonSource(FileSource):
    """Amazon reviews of one category, as JSON lines, in the layout of any of the years."""

    kind: Literal["amazon"]
    year: Literal[2014, 2018, 2023]
    """Which release the files are of: it says where to get them and on what terms."""
    category: str = Field(min_length=1)
    """What the publisher calls it: Beauty, Industrial_and_Scientific."""
    reviews: PlainName
    """JSON lines, plain or .gz: one review each."""
    metadata: PlainName | None = None
    """JSON lines (2014: Python literals), plain or .gz: one product each. Titles are the ids, when absent."""
    published: StatedCounts = StatedCounts()
    """The makers' counts of this category, compared with what is read."""


UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
"""Units of a number that counts from 1970-01-01 UTC."""

_DAY = datetime(2001, 2, 3, tzinfo=UTC)  # no two parts of it are the same number


def _time_format(text: str) -> str:
    if text in UNITS or text == "iso":
        return text
    try:
        shown = _DAY.strftime(text)
        is_whole = "%" in text and datetime.strptime(shown, text).date() == _DAY.date()
    except (ValueError, re.error):
        is_whole = False
    if not is_whole:
        raise ValueError(
            f"must be {', '.join(UNITS)}, iso, or a pattern with day, month and year such as '%d/%m/%Y %H:%M', "
            f"got {text!r}"
        )
    return text


_NO_PLACE = ("Factory", "localtime", "posixrules")  # what these mean depends on the machine


def _time_zone(text: str) -> str:
    try:
        ZoneInfo(text)
        is_place = text not in _NO_PLACE and not text.startswith(("posix/", "right/"))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        is_place = False
    if not is_place:
        raise ValueError(f"must be a time zone such as UTC or Europe/Berlin, got {text!r}")
    return text


class TimeColumn(Frozen):
    """The column that says when an interaction happened."""

    column: str = Field(min_length=1)
    format: Annotated[str, AfterValidator(_time_format)] = "iso"
    """seconds, milliseconds, microseconds or nanoseconds since 1970, iso (2024-05-01 or 2024-05-01T12:30:00+02:00),
    or a pattern of Python's strptime such as '%d/%m/%Y %H:%M'."""
    zone: Annotated[str, AfterValidator(_time_zone)] = "UTC"
    """Zone of times that carry none. An hour that a clock shows twice counts as the first one."""


class WeightColumn(Frozen):
    """The column that says how strong an interaction was: a rating, a quantity, a play count."""

    column: str = Field(min_length=1)
    minimum: float | None = None
    """A smaller weight is an error: its row goes into quarantine. To drop weak feedback, use `cleaning.min_weight`."""
    maximum: float | None = None


class TableFiles(Frozen):
    """Files of one table: where they are and how they are written."""

    path: InnerPath
    """A file, a folder or a glob (`**` for folders in folders); several files are read in the order of their names."""
    format: Literal["csv", "tsv", "json_lines", "parquet"] | None = None
    """By the ending of the name, when absent: .csv, .tsv, .jsonl, .ndjson, .parquet, also .gz, .bz2,
    .zst, or .zip of one file."""
    delimiter: str | None = Field(None, min_length=1, max_length=16)
    """Between the fields of a csv or tsv, one or more characters; `whitespace` for any run of spaces and tabs. By
    default the comma, or the tab."""
    quote: Literal['"', "none"] = '"'
    """none: a quotation mark is an ordinary character, as many tab-separated logs have it."""
    columns: tuple[str, ...] | None = Field(None, min_length=2)
    """Names for the fields of a csv or tsv without a header; when absent, the first line is the header."""
    encoding: Literal["utf-8", "iso-8859-1", "cp1252", "utf-16"] = "utf-8"
    missing: tuple[str, ...] = ()
    """Texts that mean no value, such as NULL or \\N."""
    decimal: Literal["point", "comma"] = "point"
    """comma: a weight of 1.234,5 is 1234.5."""

    @field_validator("delimiter")
    @classmethod
    def _tells_fields_apart(cls, delimiter: str | None) -> str | None:
        if delimiter is not None and ('"' in delimiter or not delimiter.strip("\r\n") or "\n" in delimiter):
            raise ValueError(f"must be characters that end a field and no line, other than a quote, got {delimiter!r}")
        return delimiter


def _column(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


class ItemFiles(TableFiles):
    """The catalogue: what is known of each item besides who touched it. The log itself, when its rows carry titles:
    then an item has its most frequent one."""

    item: str = Field(min_length=1)
    """The column with the item's id, as the log writes it."""
    title: str = Field(min_length=1)
    category: str | None = Field(None, min_length=1)
    text: str | None = Field(None, min_length=1)
    """The column with a description."""
    unlisted: Literal["quarantine", "id"] = "quarantine"
    """What becomes of an interaction whose item has no line here: set aside, or kept with its id as the title."""


class TabularSource(FileSource, TableFiles):
    """The user's own log: CSV, TSV, JSON lines or Parquet, with its columns mapped; see `docs/own-data.md`."""

    kind: Literal["tabular"]
    user: str = Field(min_length=1)
    """The column with the user's id; every id is text, `007` and `7` are two users."""
    item: str = Field(min_length=1)
    time: TimeColumn | None = None
    position: str | None = Field(None, min_length=1)
    """The column with a whole number that orders a user's interactions, for a log that has an order and no time."""
    weight: Annotated[WeightColumn | None, BeforeValidator(_column)] = None
    """A column, or a column with `minimum` and `maximum`; every interaction weighs 1, when absent."""
    event: str | None = Field(None, min_length=1)
    """The column with the type of event (view, purchase, cancellation)."""
    items: ItemFiles | None = None
    """When absent, an item's title is its id."""
    title: str = Field("Own data", min_length=1)
    """What the data set is called where it is shown."""
    terms: str = Field("Your own data: your terms.", min_length=1)

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        if self.user == self.item:
            raise ValueError(f"user and item must be two columns, got '{self.user}' for both")
        return self


class PromptRows(Frozen):
    """The rows of S-DPO and DynamicPO: JSON of `historyList` (titles joined by ::), `itemList` and `trueSelection`.

    Rows of one user follow each other; a row whose history goes on from the one before is of the same user.
    """

    kind: Literal["prompts"]
    train: InnerPath
    validation: InnerPath
    test: InnerPath
    items: InnerPath
    """The catalogue: a line id::title for each item."""


class SequenceRows(Frozen):
    """Lines `user item item …`, or one `user item` each, oldest first; a user's last item is test, the one before
    validation."""

    kind: Literal["sequences"]
    path: InnerPath
    ids: InnerPath | None = None
    """JSON whose `id2user` and `id2item` map the numbers in `path` to ids."""
    titles: InnerPath | None = None
    """A line for each item: its id, a space, its title."""


class InputRows(Frozen):
    """The rows of gSASRec: a folder for each split, with a line of items in `input.txt` and, but for train, the target
    on the same line of `output.txt`."""

    kind: Literal["inputs"]
    train: InnerPath
    validation: InnerPath
    test: InnerPath


class PresplitSource(FileSource):
    """A benchmark that publishes rows, split, instead of a log; it is evaluated on its own rows.

    A file may also be compressed, with .gz after its name. That of the test part may be missing.
    """

    kind: Literal["presplit"]
    rows: Annotated[PromptRows | SequenceRows | InputRows, Field(discriminator="kind")]
    """How the rows are written, and in which files."""
    title: str = Field(min_length=1)
    page: str = Field(min_length=1)
    """Where the publisher offers the files."""
    terms: str = Field(min_length=1)
    published: StatedCounts | None = None


Source = Annotated[
    DemoSource
    | MovieLensSource
    | LastfmSource
    | SteamSource
    | OnlineRetailSource
    | AmazonSource
    | TabularSource
    | PresplitSource,
    Field(discriminator="kind"),
]
