"""Small plots as Markdown images, for asset metadata; matplotlib is imported only when one is drawn."""

import base64
import io
from collections.abc import Mapping, Sequence

PANELS = (
    ("loss", ("train/loss",)),
    ("validation", ("validation/ndcg_at_10_full", "validation/recall_at_10_full", "validation/mrr_full")),
    ("violation rate and boundary", ("violation_rate", "boundary_fraction")),
    ("drift of the chosen log-probability", ("drift",)),
)


def curves_plot(curves: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """Loss, validation metrics and diagnostics against the step; a panel without a curve is left out."""
    from matplotlib.figure import Figure

    panels = [(title, {n: c for n, c in curves.items() if any(part in n for part in parts)}) for title, parts in PANELS]
    panels = [(title, drawn) for title, drawn in panels if drawn]
    figure = Figure(figsize=(4.2 * len(panels), 3), layout="constrained")
    for axes, (title, drawn) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, curve in sorted(drawn.items()):
            axes.plot(*zip(*curve, strict=True), label=name.split("/", 1)[1], marker="." if len(curve) < 20 else None)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return image(buffer.getvalue())


def image(png: bytes) -> str:
    """A picture as Markdown, its bytes inline."""
    return f"![plot](data:image/png;base64,{base64.b64encode(png).decode()})"
