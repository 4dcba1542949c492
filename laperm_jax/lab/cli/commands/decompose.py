"""``laperm decompose``."""

import dataclasses

from laperm_jax.lab.cli.options import DataDir, RunArgument
from laperm_jax.lab.cli.output import Output


@dataclasses.dataclass(frozen=True)
class Decompose:
    """Take a run's weights apart into common values, order and residual, and score what each is worth.

    Takes as long as seven evaluations on the test data: seconds for a small network, minutes for a ResNet.
    """

    run: RunArgument
    data_dir: DataDir = None


def run(command: Decompose, console: Output) -> int:
    """Prints the shares of the parts, and the scores without them."""
    from laperm_jax.lab.inspection import decomposing

    for table in decomposing.tables(decomposing.decompose_run(command.run, command.data_dir)):
        console.print_table(table)
    return 0
