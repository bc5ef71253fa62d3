"""What is worth saying about a user's files and refuses nothing."""

import polars as pl

from contracts.config.sources import TabularSource

_WHOLE = r"^\s*-?(0|[1-9][0-9]*)"


class Forms:
    """Whether the ids of a column are written both as 1000 and as 1000.0, which are read as one id."""

    def __init__(self) -> None:
        """Starts with nothing seen."""
        self._seen: dict[str, dict[str, str]] = {}
        """Column → form → the first id that is written so."""

    def look(self, column: str, values: pl.Series) -> None:
        """Takes the ids of a chunk; those that a format stores as numbers have one form."""
        if values.dtype != pl.String:
            return
        seen = self._seen.setdefault(column, {})
        has_points = bool(values.str.contains(".0", literal=True).any())
        if has_points and "point" not in seen:
            _keep(seen, "point", values.filter(values.str.contains(_WHOLE + r"\.0+\s*$")))
        if "plain" not in seen:
            looked_at = values if has_points else values.head(1_000)
            _keep(seen, "plain", looked_at.filter(looked_at.str.contains(_WHOLE + r"\s*$")))

    def notes(self) -> list[str]:
        """A sentence for each column that has both forms."""
        return [
            f"column '{column}' writes whole numbers in two forms, such as {seen['point']} and {seen['plain']}; 1000.0 "
            "and 1000 are read as one id"
            for column, seen in self._seen.items()
            if len(seen) == 2
        ]


def _keep(seen: dict[str, str], form: str, values: pl.Series) -> None:
    values = values.drop_nulls()
    if values.len():
        seen[form] = values[0].strip()


def strangers(config: TabularSource, items: pl.DataFrame | None, touched: pl.Series) -> list[str]:
    """A sentence when no item of the log is in the catalogue, although it may be missing there."""
    if items is None or config.items is None or items.is_empty() or touched.is_in(items["item"].implode()).any():
        return []
    return [
        f"no item of the log is in the catalogue {config.items.path}, for example {touched[0]} in the log and "
        f"{items['item'][0]} there; every title is an id"
    ]
