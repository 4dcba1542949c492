"""``laperm bench``."""

from laperm_jax.lab.cli.options import check_writable
from laperm_jax.lab.cli.output import Output
from laperm_jax.lab.config.commands import BenchConfig as BenchConfig


def run(config: BenchConfig, console: Output) -> int:
    """Measures, and prints the tables."""
    if config.out:
        check_writable(config.out, folder=True)
    from laperm_jax.lab.benchmark import bench

    rows, _ = bench.run(config, console)
    for table in bench.tables(rows) if rows else ():
        console.print_table(table)
    if config.out:
        console.print(f"results in {config.out}", soft_wrap=True)
    return 0
