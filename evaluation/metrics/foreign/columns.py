"""Cast the columns of an external table to the types of predictions; a cast that would change a value is refused."""

import polars as pl

from evaluation.metrics.ranking import InvalidPredictions

_KINDS = {
    pl.Int32(): "whole numbers up to 2,147,483,647",
    pl.Float32(): "numbers",
    pl.Float64(): "numbers",
    pl.Int64(): "numbers",
    pl.String(): "text",
}


def scores_type(table: pl.DataFrame) -> pl.DataType:
    """The type in which the scores of a table are compared: whole numbers as such, all others as float64.

    Seconds since 1970 in float32 are minutes apart: neighbours of a list would tie.
    """
    given = table.schema.get("scores")
    inner = given.inner if isinstance(given, pl.List | pl.Array) else None  # pyright: ignore[reportUnknownMemberType]: polars leaves `inner` untyped
    is_whole = inner is not None and inner.is_integer() and inner != pl.UInt64() and inner != pl.Int128()
    return pl.List(pl.Int64() if is_whole else pl.Float64())


def given_column(given: pl.Series, dtype: pl.DataType) -> pl.Series:
    """The column in `dtype`: whole numbers, floats or String, or lists of one of them. Nulls stay nulls.

    Raises:
        InvalidPredictions: it is of a kind that has no such values, or a value would not be itself any more: 1.5 as an
            item, an id of 40 bits.

    >>> given_column(pl.Series("row_id", [1.0, 2.0]), pl.Int32()).to_list()
    [1, 2]
    """
    if given.dtype == dtype:
        return given
    is_list, inner = isinstance(dtype, pl.List), dtype.inner if isinstance(dtype, pl.List) else dtype  # pyright: ignore[reportUnknownMemberType]: polars leaves `inner` untyped
    kind = _KINDS[inner]  # pyright: ignore[reportArgumentType]
    wanted = f"predictions column {given.name} must hold {f'lists of {kind}' if is_list else kind}"
    given_list = given.dtype if isinstance(given.dtype, pl.List | pl.Array) else None
    of = given.dtype if given_list is None else given_list.inner
    is_known = of == pl.Null or of == pl.String or of.is_numeric()
    if not is_known or (is_list and given_list is None and of != pl.Null) or (not is_list and given_list is not None):
        raise InvalidPredictions("columns", f"{wanted}, got {given.dtype}.")
    if given_list is not None:
        given = given.cast(pl.List(of))  # a list of fixed length is one
    cells = pl.DataFrame({"given": given}).with_row_index("row")
    cells = cells if given_list is None else cells.explode("given")
    typed = cells["given"].cast(inner, strict=False)  # pyright: ignore[reportArgumentType]
    lost = typed.is_null() & cells["given"].is_not_null()
    if of.is_float() and inner == pl.Int32:
        lost |= (cells["given"] != typed.cast(of)).fill_null(False)
    if lost.any():
        row, value = cells.row(int(lost.arg_true()[0]))
        raise InvalidPredictions("columns", f"{wanted}, got {value!r} in row {row + 1} of the file.")
    return given.cast(dtype)
