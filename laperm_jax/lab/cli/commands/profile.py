"""``laperm profile``."""

import dataclasses
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from laperm_jax.lab.cli.options import check_writable
from laperm_jax.lab.cli.output import Output


@dataclasses.dataclass(frozen=True)
class Profile:
    """Print the weight profiles of a run, before and after training, or of a file of weights."""

    path: Positional[Path]
    """Folder of a run, or a file: *.laperm, *.safetensors, *.keras, *.h5 or *.hdf5."""
    outputs: Literal["auto", "first", "last"] = "auto"
    """For a file, which axis of a kernel numbers the output units. auto goes by the names that PyTorch, Keras, Flax,
    Haiku and Equinox give; first is right for PyTorch, last for Flax and Keras."""
    out: Path | None = None
    """Picture to write, such as profiles.png."""


def run(command: Profile, console: Output) -> int:
    """Prints the table, and what was left out of it."""
    from laperm_jax.lab.inspection import profiling, weight_files
    from laperm_jax.lab.runs import plots

    if command.out:
        plots.check_picture(command.out)
        check_writable(command.out)
    layers = weight_files.read(command.path, command.outputs)
    console.print_table(profiling.table(layers))
    for sentence in profiling.left_out(layers):
        console.print(sentence, soft_wrap=True)
    if command.out:
        command.out.parent.mkdir(parents=True, exist_ok=True)
        profiling.draw(layers, command.out)
        console.print(f"picture in {command.out}", soft_wrap=True)
    return 0
