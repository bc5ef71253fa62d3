"""The rows of a file that cannot be used, and when there are so many that the file is refused."""

import polars as pl

from assets.sources.contract import EmptyFile, UnusableSource
from assets.sources.reader.columns import Mapped, Row
from assets.sources.reader.text import Chunk
from evaluation.schemas import schema_of

_ENOUGH = 1_000  # rows after which a file of which most are unusable is given up


class Quarantine:
    """The unusable rows of one file."""

    def __init__(self, file: str, max_share: float, *, forgiven: str | None = None) -> None:
        """Starts empty.

        Args:
            file: its name.
            max_share: a file of which more rows than this share are unusable is refused.
            forgiven: a reason that does not count to that share.
        """
        self.file, self.max_share, self.forgiven = file, max_share, forgiven
        self.n_rows = self.n_bad = 0
        self._rows: list[pl.DataFrame] = []

    def set_aside(self, chunk: Chunk, row: Row) -> pl.DataFrame:
        """Keeps the unusable rows of a chunk with their reasons, and returns the others, with file and line.

        Raises:
            UnusableSource: most of the file's first rows are unusable.
        """
        first_broken = pl.coalesce(
            *(pl.when(column.is_broken).then(pl.lit(column.reason)) for column in row.values()),
            pl.lit(None, pl.String),
        )
        lines = chunk.lines.alias("line")
        reasons = lines.to_frame().select(first_broken.alias("reason")).to_series()
        places = reasons.is_not_null().arg_true()
        texts = pl.Series("text", chunk.shown(places.to_list()), dtype=pl.String)
        self.add(chunk.bad, 0)
        self.add(pl.DataFrame([lines.gather(places), reasons.gather(places), texts]), lines.len() - len(places))
        if self.n_rows > _ENOUGH and self.n_bad > max(0.5, self.max_share) * self.n_rows:
            self._refuse(f"of the first {self.n_rows:,}")
        columns = [column.values.alias(name) for name, column in row.items() if isinstance(column, Mapped)]
        return pl.DataFrame([*columns, lines]).filter(reasons.is_null()).with_columns(file=pl.lit(self.file))

    def add(self, bad: pl.DataFrame, n_good: int) -> None:
        """Takes line, reason and text of unusable rows, and how many usable ones there were."""
        self._rows.append(bad)
        self.n_rows += n_good + bad.height
        self.n_bad += bad.height
        if self.forgiven is not None:
            self.n_bad -= int((bad["reason"] == self.forgiven).sum())

    def table(self) -> pl.DataFrame:
        """The file's part of the table `quarantine`.

        Raises:
            UnusableSource: the file has no row, or too many of its rows are unusable.
        """
        if self.n_rows == 0:
            raise EmptyFile(f"{self.file} must hold rows, got none after its header. Bring its rows, or take it away.")
        if self.n_bad > self.max_share * self.n_rows:
            self._refuse(f"of {self.n_rows:,}")
        return self._sorted().select(list(schema_of("quarantine")))

    def _sorted(self) -> pl.DataFrame:
        return pl.concat(self._rows).with_columns(file=pl.lit(self.file)).sort("line", maintain_order=True)

    def _refuse(self, of: str) -> None:
        counted = self._sorted()
        if self.forgiven is not None:
            counted = counted.filter(pl.col("reason") != self.forgiven)
        most = counted.group_by("reason", maintain_order=True).len().sort("len", descending=True, maintain_order=True)
        first = counted.filter(pl.col("reason") == most["reason"][0]).row(0, named=True)
        raise UnusableSource(
            f"{self.file} must have at most {100 * self.max_share:.3g}% unusable rows, got {self.n_bad:,} {of}. "
            f"First{_shared(most)}: line {first['line']:,}, {first['reason']} ({first['text']!r}). Bring the file as "
            "published, correct its mapping, or raise source.max_quarantined_share in the data set's file."
        )


def _shared(reasons: pl.DataFrame) -> str:
    """How many rows have the reason that is shown, when there are others."""
    return "" if reasons.height == 1 else f" of {reasons['len'][0]:,} for one reason"
