"""``laperm evaluate``."""

from laperm_jax.lab.cli.output import Output
from laperm_jax.lab.config.commands import EvaluateConfig as EvaluateConfig


def run(config: EvaluateConfig, console: Output) -> int:
    """Classifies the test images, and prints the accuracy and a table of the weight vectors."""
    from laperm_jax.lab.inspection import evaluation

    accuracy, counts = evaluation.evaluate(config)
    console.print_table(evaluation.table(counts))
    console.print(f"test_accuracy {accuracy:.4f}")
    return 0
