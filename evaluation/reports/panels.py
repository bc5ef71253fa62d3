"""Figures of panels: their grid, titles, scales, one legend, PNG. It knows matplotlib and no report."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evaluation.statistics.significance import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Panel = Any
"""matplotlib's Axes; its annotations leave keyword arguments untyped."""

COLOURS = ("#c4502e", "#1f5fa8", "#3a8a4d", "#8a4fa3", "#b8860b", "#4b9cab", "#a33e5d", "#6b6b6b")
"""Told apart by the colour-blind too, in their first four."""
STYLES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (4, 1.5, 1, 1.5)))
START, BAND, FLOOR = "#444444", "#ececec", "#9a9a9a"
COLUMNS = 4
WIDTH = 7.0
"""Inches of the narrowest figure."""
DPI = 130


@dataclass(frozen=True)
class Look:
    """The look of a line, and its label in the legend."""

    colour: Any
    style: Any
    label: str


def colour_of(place: int, n: int) -> Any:
    """The colour of one of n lines."""
    if n <= len(COLOURS):
        return COLOURS[place]
    from matplotlib import colormaps

    return colormaps["turbo"](0.05 + 0.9 * place / (n - 1))


def draw_intervals(axes: Panel, x: Sequence[float], found: Sequence[Interval], look: Look) -> None:
    """Error bars at x."""
    for at, of in zip(x, found, strict=True):
        axes.plot([at, at], [of.low, of.high], color=look.colour, linewidth=1.3, alpha=0.75, zorder=3)


def panel_grid(
    n_groups: int, n_rows: int, *, sharey: Any, width: float = 3.3, height: float = 2.7
) -> "tuple[Figure, Iterator[Panel]]":
    """Panels row after row; groups that do not fit beside one another go on in the next line."""
    columns = min(COLUMNS, n_groups)
    lines = -(-n_groups // columns) * n_rows
    figure = blank_figure(max(width * columns, WIDTH) + 0.6, height * lines + 0.7)
    rows = figure.subplots(lines, columns, squeeze=False, sharey=sharey)
    used: list[Panel] = []
    for block in range(n_rows):
        of_block = [axes for row in rows[block * (lines // n_rows) :][: lines // n_rows] for axes in row]
        used += of_block[:n_groups]
        for axes in of_block[n_groups:]:
            axes.set_axis_off()
    for axes in used:
        make_plain(axes)
    return figure, iter(used)


def logarithmic_x(axes: Panel) -> None:
    """Along x, with numbers at 1 and 3 of each decade: a panel may span less than one."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def title_panel(axes: Panel, title: str, *, x: str, y: str, n_groups: int) -> None:
    """Names each row and column of panels once; each panel, where groups go on in the next line."""
    place = axes.get_subplotspec()
    if place.is_first_row() or n_groups > COLUMNS:
        axes.set_title(title, fontsize=10, fontweight="bold")
    if place.is_last_row():
        axes.set_xlabel(x, fontsize=9)
    if place.is_first_col():
        axes.set_ylabel(y, fontsize=9)


def make_plain(axes: Panel, *, lines: Any = "both") -> None:
    """Grid lines of one direction or both behind what is drawn, and a frame on two sides."""
    axes.grid(axis=lines, color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.6")
    axes.tick_params(labelsize=8, color="0.6", labelleft=True)


def add_legend(figure: "Figure", looks: Sequence[Look]) -> None:
    """One legend below all panels; a look without label is left out."""
    from matplotlib.lines import Line2D

    looks = [look for look in looks if look.label]
    if looks:
        handles = [Line2D([], [], color=look.colour, linestyle=look.style, linewidth=2) for look in looks]
        labels = [look.label for look in looks]
        columns = max(1, min(len(looks), int(figure.get_figwidth() / 1.6)))
        figure.legend(  # pyright: ignore[reportUnknownMemberType]: matplotlib leaves **kwargs untyped
            handles, labels, loc="outside lower center", ncols=columns, fontsize=9, frameon=False, handlelength=2.6
        )


def spans_decades(values: Sequence[float]) -> bool:
    """Whether a linear scale would hide the small ones."""
    return bool(values) and min(values) > 0 and max(values) > 20 * min(values)


def blank_figure(width: float, height: float) -> "Figure":
    """Width and height in inches."""
    # Figure and canvas without pyplot: no global state, no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def as_png(figure: "Figure") -> bytes:
    """The file's content."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png")  # pyright: ignore[reportUnknownMemberType]: matplotlib leaves **kwargs untyped
    return picture.getvalue()
