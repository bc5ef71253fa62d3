# pyright: basic
"""The log while it is cleaned, in DuckDB: one method for each rule, each of which makes the next table.

Ids are integers here, times microseconds. Speaks SQL and arrow, and nobody else needs to.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from assets.transforms.cleaning.cores import Ints
from assets.transforms.cleaning.dense_ids import dense_ids
from assets.transforms.database import sql_text
from assets.transforms.text_keys import text_keys
from contracts.config.dataset import Cleaning
from contracts.draws import hashes

_BATCH = 1_000_000
_ORDER = "t, position, tie, weight DESC, event NULLS LAST"  # of one user's distinct rows: a total order
_REVERSED = "t DESC, position DESC, tie DESC, weight, event DESC NULLS FIRST"
_DISTINCT = "u, i, t, position, weight, event"
NO_EVENT = "(missing)"
"""How a row without a type of event is counted."""


class Log:
    """A raw log, rule by rule."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, raw: Path, cleaning: Cleaning, say: Callable[[str], None]
    ) -> None:
        self.connection, self.cleaning, self.say = connection, cleaning, say
        connection.execute(f"CREATE VIEW raw AS SELECT * FROM read_parquet({sql_text(raw)})")
        self.n_raw = self.count("raw")

    def one(self, query: str) -> tuple[Any, ...]:
        """The only row of a query."""
        (row,) = self.connection.execute(query).fetchall()
        return row

    def count(self, table: str) -> int:
        """Rows of a table."""
        return int(self.one(f"SELECT count(*) FROM {table}")[0])

    def refuse_unusable(self, raw_items: pl.DataFrame) -> None:
        """Raises for a log that no rule can clean."""
        if not self.n_raw:
            raise ValueError(
                "Cleaning must start from at least one interaction, got an empty log. Check the raw files."
            )
        self.connection.execute(
            "CREATE TABLE items AS SELECT item, row_number() OVER () - 1 AS i FROM (SELECT DISTINCT item FROM raw)"
        )
        self.n_items_touched = self.count("items")
        self.connection.register("raw_items", raw_items.select("item").to_arrow())
        unknown = "FROM raw WHERE item IN (SELECT item FROM items ANTI JOIN raw_items USING (item))"
        n_unknown = int(self.one(f"SELECT count(*) {unknown}")[0])
        if n_unknown:
            item, file, line = self.one(f"SELECT item, file, line {unknown} ORDER BY file, line LIMIT 1")
            raise ValueError(
                f"Every interaction must be with an item of the catalogue, got item {item!r} ({file}, line {line}; "
                f"{n_unknown:,} rows). Add it, or quarantine the rows."
            )
        for column, what in (("at", "time"), ("position", "position")):
            missing = self.n_raw - int(self.one(f'SELECT count("{column}") FROM raw')[0])
            if 0 < missing < self.n_raw:
                raise ValueError(
                    f"Either all raw interactions or none must have a {what}, got {missing:,} of {self.n_raw:,} "
                    f"without. Quarantine the rows without a {what}, or leave all {what}s out."
                )

    def count_other_events(self) -> dict[str, int]:
        """Interactions of the types that are dropped, by type; raises for a type that the log does not have."""
        wanted = self.cleaning.events
        if wanted is None:
            return {}
        rows = self.connection.execute(
            f"SELECT coalesce(event, {sql_text(NO_EVENT)}), count(*) FROM raw GROUP BY 1 ORDER BY 1"
        ).fetchall()
        found = {str(event): int(count) for event, count in rows}
        unknown = [event for event in wanted if event not in found]
        if unknown:
            shown = ", ".join(f"{event} ({count:,} rows)" for event, count in list(found.items())[:20])
            raise ValueError(
                f"cleaning.events must name types of event that the log has, got {', '.join(unknown)}. It has {shown}."
            )
        return {event: count for event, count in found.items() if event not in wanted}

    def code(self, seed: int) -> None:
        """`coded`: ids as integers, times as microseconds, and what orders ties; `users`, `items`: what they code."""
        run = self.connection.execute
        run('CREATE TABLE users AS SELECT "user", row_number() OVER () - 1 AS u FROM (SELECT DISTINCT "user" FROM raw)')
        run("CREATE TABLE files AS SELECT file, rank() OVER (ORDER BY file) AS f FROM (SELECT DISTINCT file FROM raw)")
        kept = "true"
        if self.cleaning.events is not None:
            kept = f"coalesce(event, {sql_text(NO_EVENT)}) IN ({', '.join(map(sql_text, self.cleaning.events))})"
        line = "(1::BIGINT << 40) - line" if self.cleaning.ties == "newest_first" else "line"
        coded = f"""
            SELECT u::INTEGER AS u, i::INTEGER AS i, epoch_us("at") AS t, position, weight, event,
                   (f << 40) + {line} AS tie
            FROM raw JOIN users USING ("user") JOIN items USING (item) JOIN files USING (file) WHERE {kept}
        """
        if self.cleaning.ties != "hash":
            run(f"CREATE TABLE coded AS {coded}")
        else:
            run(f"CREATE TABLE filed AS {coded}")
            self.connection.register("tied", _hashed(self.connection, seed))
            run("CREATE TABLE coded AS SELECT * FROM tied")
            run("DROP TABLE filed")
        self.say(f"{self.n_raw:,} raw interactions coded")

    def drop_duplicates(self) -> None:
        """`uniques`: each distinct row once."""
        self.connection.execute(
            f"CREATE TABLE uniques AS SELECT {_DISTINCT}, min(tie) AS tie FROM coded GROUP BY {_DISTINCT}"
        )
        self.connection.execute("DROP TABLE coded")
        self.n_distinct = self.count("uniques")

    def drop_by_weight(self) -> None:
        """`weighty`: rows whose weight is neither too small nor too large."""
        low, high = self.cleaning.min_weight, self.cleaning.max_weight
        below = "false" if low is None else f"weight < {low!r}::FLOAT"
        above = "false" if high is None else f"weight > {high!r}::FLOAT"
        counted = self.one(f"SELECT count(*) FILTER ({below}), count(*) FILTER ({above}) FROM uniques")
        self.n_below, self.n_above = int(counted[0]), int(counted[1])
        if self.n_below + self.n_above == self.n_distinct:
            least, most = self.one("SELECT min(weight), max(weight) FROM uniques")
            wanted = " and ".join(
                f"of at {word} {limit}" for word, limit in (("least", low), ("most", high)) if limit is not None
            )
            raise ValueError(
                f"Cleaning must leave at least one interaction, got 0 of {self.n_raw:,} with a weight {wanted}; the "
                f"log has {least:g} to {most:g}. Change cleaning.min_weight or cleaning.max_weight."
            )
        self.connection.execute(f"CREATE VIEW weighty AS SELECT * FROM uniques WHERE NOT ({below}) AND NOT ({above})")

    def drop_repeats(self) -> None:
        """`kept`: which of a user's interactions with one item stay."""
        rule = self.cleaning.repeats
        order = _REVERSED if rule == "last" else _ORDER
        weight = "weight"
        if rule == "sum":  # in one order, so that rounding does not depend on how the work was shared out
            weight = f"""(sum(weight::DOUBLE) OVER (PARTITION BY u, i ORDER BY {_ORDER}
                          ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING))::FLOAT AS weight"""
        columns = f"u, i, t, position, {weight}, event, tie"
        chosen = "" if rule == "all" else f"QUALIFY row_number() OVER (PARTITION BY u, i ORDER BY {order}) = 1"
        self.connection.execute(f"CREATE TABLE kept AS SELECT {columns} FROM weighty {chosen}")
        self.n_kept = self.count("kept")
        self.say(f"{self.n_kept:,} interactions without duplicates and repeats")

    def pairs(self) -> Iterator[tuple[Ints, Ints]]:
        """The users and items of `kept`, in chunks."""
        for batch in _batches(self.connection, "SELECT u, i FROM kept"):
            yield batch["u"].to_numpy(), batch["i"].to_numpy()

    def number(self, name: str, is_in: NDArray[np.bool_]) -> pl.DataFrame:
        """`<name>_id`, `<name>` of those in the core; `<name>_ids`: what their codes become."""
        raw = _raw_ids(self.connection, name).filter(pl.Series(is_in))
        ids = dense_ids(raw[name], name)
        coded = raw.join(ids, on=name).select(name[0], f"{name}_id")
        self.connection.register("coded_ids", coded.to_arrow())
        self.connection.execute(f"CREATE TABLE {name}_ids AS SELECT * FROM coded_ids")
        return ids

    def write(self, to: Path) -> None:
        """The core with its dense ids, by user, then in chronological order."""
        self.connection.execute(
            f"""
            COPY (
                SELECT user_id, item_id, t AS "at", weight FROM kept JOIN user_ids USING (u) JOIN item_ids USING (i)
                ORDER BY user_id, {_ORDER}
            ) TO {sql_text(to)} (FORMAT parquet, COMPRESSION zstd)
            """
        )


def _batches(connection: duckdb.DuckDBPyConnection, query: str) -> pa.RecordBatchReader:
    """The rows of a query, as they are found; the connection is free for other work."""
    relation = connection.cursor().sql(query)
    assert relation is not None  # a query has a result
    return relation.to_arrow_reader(_BATCH)


def _raw_ids(connection: duckdb.DuckDBPyConnection, name: str) -> pl.DataFrame:
    """The raw id of each code of users or items, in the order of the codes."""
    query = f'SELECT {name[0]}::INTEGER AS {name[0]}, "{name}" FROM {name}s ORDER BY {name[0]}'
    return pl.DataFrame(_batches(connection, query).read_all())


def _hashed(connection: duckdb.DuckDBPyConnection, seed: int) -> pa.RecordBatchReader:
    """`filed` with a tie that is a hash of (seed, user, item)."""
    of_users, of_items = (text_keys(_raw_ids(connection, name)[name]) for name in ("user", "item"))
    reader = _batches(connection, "SELECT * FROM filed")
    place = reader.schema.get_field_index("tie")
    schema = reader.schema.set(place, pa.field("tie", pa.uint64()))

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            ties = hashes(seed, "ties", of_users[batch["u"].to_numpy()], of_items[batch["i"].to_numpy()])
            yield batch.set_column(place, schema.field(place), pa.array(ties))

    return pa.RecordBatchReader.from_batches(schema, batches())
