"""How one line of a file is split into fields, and the rules most files share: SQL that `assets/sources/text.py` runs.

What is named here comes from this package's own layouts, never from a file or a user.
"""

from dataclasses import dataclass
from typing import Protocol

from assets.transforms.database import sql_text

_CSV_FIELD = '("(?:[^"]|"")*"|[^",]*),'


class Lines(Protocol):
    """A way to split lines. Both methods give SQL over the column `text`; the fields are a list of texts."""

    def fields(self) -> str:
        """An expression for the list of the line's fields."""
        ...

    def rules(self, n_fields: int) -> dict[str, str]:
        """Reason → a condition that a line meets which cannot be split into this many fields."""
        ...


@dataclass(frozen=True)
class Delimited:
    """Fields between delimiters. Quotes mean nothing."""

    delimiter: str

    def fields(self) -> str:
        """The text between delimiters."""
        return f"string_split(text, {sql_text(self.delimiter)})"

    def rules(self, n_fields: int) -> dict[str, str]:
        """Too many or too few fields."""
        return {f"must have {n_fields} fields": f"len(fields) <> {n_fields}"}


@dataclass(frozen=True)
class QuotedCsv:
    """Comma-separated fields, which may stand in double quotes, a quote inside doubled; one record is one line."""

    def fields(self) -> str:
        """The fields without their quotes; only a line with a quote in it pays for a regular expression."""
        unquoted = """CASE WHEN starts_with(f, '"') THEN replace(f[2:-2], '""', '"') ELSE f END"""
        quoted = f"list_transform(regexp_extract_all(text || ',', {sql_text(_CSV_FIELD)}, 1), lambda f: {unquoted})"
        return f"CASE WHEN contains(text, '\"') THEN {quoted} ELSE string_split(text, ',') END"

    def rules(self, n_fields: int) -> dict[str, str]:
        """A quote where none may be, or too many or too few fields."""
        whole = f"regexp_full_match(text || ',', {sql_text(f'(?:{_CSV_FIELD})+')})"
        return {
            "quotes must enclose whole fields and close on their line": f"contains(text, '\"') AND NOT {whole}",
            f"must have {n_fields} fields": f"len(fields) <> {n_fields}",
        }


@dataclass(frozen=True)
class JsonObjects:
    """A JSON object on each line. A field is the first of its keys that the object has; '' if it has none of them."""

    keys: tuple[tuple[str, ...], ...]
    """For each field, JSON paths below the root, such as `asin` or `categories[0]`, in order of preference."""

    def fields(self) -> str:
        """Texts and numbers as they are written, lists and objects as JSON."""
        paths = [f"$.{key}" for keys in self.keys for key in keys]
        found = f"json_extract_string(CASE WHEN json_valid(text) THEN text END, [{', '.join(map(sql_text, paths))}])"
        ends = [sum(len(keys) for keys in self.keys[: place + 1]) for place in range(len(self.keys))]
        first = [
            "coalesce({}, '')".format(", ".join(f"found[{place + 1}]" for place in range(end - len(keys), end)))
            for keys, end in zip(self.keys, ends, strict=True)
        ]
        return f"list_transform([{found}], lambda found: [{', '.join(first)}])[1]"

    def rules(self, n_fields: int) -> dict[str, str]:
        """A line that is no JSON object."""
        assert n_fields == len(self.keys)
        is_object = "json_type(CASE WHEN json_valid(text) THEN text END) = 'OBJECT'"
        return {"must be a JSON object": f"NOT coalesce({is_object}, false)"}


def is_no_id(field: str) -> str:
    """What an id of a user or an item must not be."""
    return f"length(trim({field})) NOT BETWEEN 1 AND 200 OR contains({field}, chr(0))"


def is_no_number(field: str, least: float, most: float) -> str:
    """What a finite number from `least` to `most` is not: missing, text, NaN, infinite, out of range."""
    return f"NOT coalesce(try_cast({field} AS DOUBLE) BETWEEN {least} AND {most}, false)"


def is_no_time(field: str, *, per_second: int = 1, earliest: str = "1970-01-01") -> str:
    """What a whole number of seconds (or thousandths) since 1970 is not, from `earliest` until now."""
    seconds = f"try_cast({field} AS BIGINT) / {per_second}"
    return (
        f"NOT regexp_full_match({field}, '-?[0-9]{{1,{11 if per_second == 1 else 14}}}') "
        f"OR {seconds} < epoch(TIMESTAMP '{earliest}') OR {seconds} > epoch(get_current_timestamp())"
    )
