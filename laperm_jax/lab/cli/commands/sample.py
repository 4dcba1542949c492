"""``laperm sample``."""

import dataclasses

from laperm_jax.lab.cli.options import DataDir, RunArgument
from laperm_jax.lab.cli.output import Output


@dataclasses.dataclass(frozen=True)
class Sample:
    """Write text with the language model of a run."""

    run: RunArgument
    prompt: str = "ROMEO:"
    """Text to continue."""
    length: int = 500
    """Characters to add."""
    temperature: float = 0.8
    """Divides the logits; 0 takes the likeliest character each time."""
    seed: int = 0
    """Seed of the characters that are drawn."""
    data_dir: DataDir = None


def run(command: Sample, console: Output) -> int:
    """Prints the prompt and its continuation."""
    from laperm_jax.lab.inspection import sampling

    console.print(sampling.sample(**dataclasses.asdict(command)), soft_wrap=True)
    return 0
