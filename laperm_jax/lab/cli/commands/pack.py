"""``laperm pack`` and ``laperm unpack``."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from laperm_jax.lab.cli.options import RunArgument, check_writable
from laperm_jax.lab.cli.output import Output


@dataclasses.dataclass(frozen=True)
class Pack:
    """Pack the network of a run as a seed and permutations: a third of its size, and less where weights are sparse."""

    run: RunArgument
    file: Annotated[Path, Positional, tyro.conf.arg(metavar="FILE")]
    """File to write, such as net.laperm."""
    store_values: bool = False
    """Store the initial values as well, for machines whose JAX draws other numbers."""


@dataclasses.dataclass(frozen=True)
class Unpack:
    """Unpack a network: write weights.safetensors, byte for byte the run's own."""

    file: Annotated[Path, Positional, tyro.conf.arg(metavar="FILE")]
    """File that `laperm pack` has written."""
    out: Annotated[Path, Positional, tyro.conf.arg(metavar="FOLDER")]
    """Folder to write to."""
    max_bytes: int = 2**30
    """Largest size of the weights: a short file can name a long array."""


def run(command: Pack, console: Output) -> int:
    """Packs, and prints the sizes."""
    from laperm_jax.lab.inspection import packing

    check_writable(command.file, "the file")
    size, packed = packing.pack(command.run, command.file, store_values=command.store_values)
    console.print(
        f"{command.file}: {packed:,} bytes, {packed / size:.1%} of the {size:,} of its weights", soft_wrap=True
    )
    return 0


def run_unpack(command: Unpack, console: Output) -> int:
    """Unpacks, and prints the file."""
    from laperm_jax.lab.inspection import packing

    check_writable(command.out, "the folder", folder=True)
    target = packing.unpack(command.file, command.out, max_bytes=command.max_bytes)
    console.print(f"{target}: the weights that were packed, bit for bit", soft_wrap=True)
    return 0
