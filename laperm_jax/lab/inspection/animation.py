"""A moving picture of a replay: the units of a kernel, and the score beside them."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image

from laperm_jax.lab.config.scores import format_score
from laperm_jax.lab.inspection.replay import Replay
from laperm_jax.lab.inspection.replay_pictures import COLORS, as_image, color_limit
from laperm_jax.lab.runs.plots import RECONNECTED, short_name, tidy

KINDS = (".webp", ".gif")
MAX_BYTES = 2 * 10**6
_SECONDS, _LAST_SECONDS = 8, 3
_COLUMNS = 5


def animate(replayed: Replay, out: Path) -> int:
    """Draws every moment of a replay to an animated WebP or GIF of less than two megabytes.

    Args:
      replayed: the kernel.
      out: file to write; its suffix decides the format.

    Returns:
      The size of the file, in bytes.

    Raises:
      OSError: if it cannot be written.
    """
    figure, show = _figure(replayed)
    canvas = FigureCanvasAgg(figure)
    frames = []
    for moment in range(len(replayed.steps)):
        show(moment)
        canvas.draw()
        figure.set_layout_engine("none")  # laid out once: panels do not move, and frames are drawn faster
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    content = _encode(frames, out.suffix.lower())
    while len(content) > MAX_BYTES and len(frames) > 2:
        frames = [*frames[:-1:2], frames[-1]]
        content = _encode(frames, out.suffix.lower())
    out.write_bytes(content)
    return len(content)


def _figure(replayed: Replay) -> tuple[Figure, Callable[[int], None]]:
    """The figure, and a function that shows one moment in it."""
    units = replayed.vectors.shape[1]
    figure = Figure(figsize=(9, 3.5), dpi=80, layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.6, 1), squeeze=False).flat
    left.suptitle(f"{short_name(replayed.layer, 40)}: {units} of {replayed.units} units")
    panels = left.subplots(-(-units // _COLUMNS), min(units, _COLUMNS), squeeze=False).flat
    images = []
    for unit, panel in enumerate(panels):
        panel.set_axis_off()
        if unit < units:
            images.append(panel.imshow(as_image(replayed.vectors[0, unit], replayed.shape), COLORS))
            images[-1].set_clim(-color_limit(replayed), color_limit(replayed))
    panel = right.subplots()
    (line,) = panel.plot([], [], color=RECONNECTED)
    (point,) = panel.plot([], [], "o", color=RECONNECTED)
    panel.set(xlabel="updates", ylabel=f"validation {replayed.score}", xlim=(0, max(1, replayed.steps[-1])))
    panel.set_ylim(*((0, 1) if replayed.score == "accuracy" else (0, 1.05 * max(replayed.scores))))
    if replayed.score == "accuracy":
        panel.yaxis.set_major_formatter(PercentFormatter(1))
    tidy(panel)

    def show(moment: int) -> None:
        for unit, image in enumerate(images):
            image.set_data(as_image(replayed.vectors[moment, unit], replayed.shape))
        line.set_data(replayed.steps[: moment + 1], replayed.scores[: moment + 1])
        point.set_data(replayed.steps[moment : moment + 1], replayed.scores[moment : moment + 1])
        score = format_score(replayed.score, replayed.scores[moment])
        panel.set_title(f"update {replayed.steps[moment]:,}: {score}")

    return figure, show


def _encode(frames: list[Image.Image], suffix: str) -> bytes:
    milliseconds = [1000 * _SECONDS // len(frames)] * (len(frames) - 1) + [1000 * _LAST_SECONDS]
    if suffix == ".gif":
        frames = [frame.quantize(64, dither=Image.Dither.NONE) for frame in frames]
    options: dict[str, Any] = {"format": "GIF", "optimize": True}
    if suffix == ".webp":
        options = {"format": "WEBP", "quality": 75, "method": 4}
    file = io.BytesIO()
    frames[0].save(file, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, **options)
    return file.getvalue()
