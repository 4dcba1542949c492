"""``laperm trace``."""

import dataclasses
from pathlib import Path

from laperm_jax.lab.cli.options import DataDir, RunArgument, check_writable
from laperm_jax.lab.cli.output import Output

_STILL = Path("trace.png")


@dataclasses.dataclass(frozen=True)
class Trace:
    """Draw how the values of a kernel move during a run.

    The run is replayed up to the epoch that was chosen, which takes as long as it took the first time.
    """

    run: RunArgument
    layer: str | None = None
    """Path of the kernel, such as dense1/kernel (by default the first)."""
    out: Path | None = None
    """Picture to write, *.png, *.pdf or *.svg (by default trace.png, without --animate)."""
    animate: Path | None = None
    """Moving picture to write, *.webp or *.gif, of less than 2 MB: the units of the kernel, and the score."""
    data_dir: DataDir = None


def run(command: Trace, console: Output) -> int:
    """Replays the run, and draws it."""
    from laperm_jax.lab.inspection import animation, replay, replay_pictures
    from laperm_jax.lab.runs import plots

    out = command.out or (None if command.animate else _STILL)
    if out:
        plots.check_picture(out)
        check_writable(out)
    if command.animate:
        plots.check_picture(command.animate, animation.KINDS, "--animate")
        check_writable(command.animate, "--animate")
    with console.status("replaying the run"):
        replayed = replay.replay(command.run, command.layer, command.data_dir)
    paths = [path for path in (out, command.animate) if path]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    if out:
        replay_pictures.draw(replayed, out)
    if command.animate:
        animation.animate(replayed, command.animate)
    pictures = " and ".join(map(str, paths))
    last = "the run's own, bit for bit" if replayed.exact else "not the run's own: this machine rounds differently"
    console.print(f"picture in {pictures}; the last weights in it are {last}", soft_wrap=True)
    return 0
