"""Small plots, and how asset metadata shows them; matplotlib is imported only when one is drawn."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = {
    "loss": ("train/loss",),
    "validation": ("validation/ndcg_at_10_full", "validation/recall_at_10_full", "validation/mrr_full"),
    "validation, of the candidates": (r"validation/hit_ratio_at_1_of_\d+", r"validation/mrr_of_\d+"),
    "violations and boundary": (
        "diagnostic/violation_rate_policy",
        "diagnostic/violation_rate_ratio",
        "diagnostic/boundary_fraction",
    ),
    "drift of log-probability (nats)": ("diagnostic/chosen_logp_drift", "diagnostic/rejected_logp_drift"),
    "gradient on easy negatives, saturation": ("diagnostic/grad_share_easy", "diagnostic/saturation"),
    "gradient on a boundary negative": ("diagnostic/grad_boundary_abs",),
    "effective number of negatives": ("diagnostic/effective_negatives",),
    "margins (nats)": ("diagnostic/margin_q10", "diagnostic/margin_q50", "diagnostic/margin_q90"),
    "beta": ("diagnostic/beta_q10", "diagnostic/beta_q50", "diagnostic/beta_q90"),
    "win rate on the fixed probe": ("diagnostic/probe_win_rate_all", "diagnostic/probe_win_rate_pair"),
}
"""Panel → patterns of the curves it draws. A panel without curves is left out: SFT has no preferences to diagnose."""
COLUMNS = 5


def curves_plot(curves: Mapping[str, Sequence[tuple[int, float]]]) -> bytes:
    """Loss, validation metrics and diagnostics against the step, as a PNG."""
    from matplotlib.figure import Figure

    panels = {
        title: [name for each in names for name in curves if re.fullmatch(each, name)]
        for title, names in PANELS.items()
    }
    panels = {title: names for title, names in panels.items() if names}
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    width, height = 3.6 * columns, 2.7 * lines
    figure = Figure(figsize=(width, height))
    # Inches; to let matplotlib find them takes as long as all else, for every training of a study.
    margins = {"left": 0.45 / width, "right": 1 - 0.1 / width, "top": 1 - 0.25 / height, "bottom": 0.45 / height}
    figure.subplots_adjust(**margins, wspace=0.2, hspace=0.38)
    grid = figure.subplots(lines, columns, squeeze=False).flat
    for axes, (title, names) in zip(grid, panels.items(), strict=False):
        for name in names:
            curve = curves[name]
            axes.plot(*zip(*curve, strict=True), label=name.split("/", 1)[1], marker="." if len(curve) < 20 else None)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=7)
    for axes in list(grid):
        axes.set_axis_off()
    return _drawn(figure)


def histograms_plot(edges: NDArray[np.float64], shares: Mapping[str, NDArray[np.float64]], *, label: str) -> bytes:
    """Histograms over the same bins as steps on one another, by name, as a PNG; `label` says what the bins are of."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 2.7), layout="constrained")
    axes = figure.subplots()
    for name, values in shares.items():
        axes.stairs(values, edges, label=name, fill=True, alpha=0.4)
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_xlabel(label, fontsize=8)
    axes.set_ylabel("share", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7)
    return _drawn(figure)


def _drawn(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=70)
    return buffer.getvalue()


def image(png: bytes) -> str:
    """A picture as Markdown, its bytes inline."""
    return f"![plot](data:image/png;base64,{base64.b64encode(png).decode()})"
