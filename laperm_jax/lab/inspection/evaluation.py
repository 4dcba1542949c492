"""Released weights: what they score, and whether their vectors still look like the initial values they should be."""

from typing import NamedTuple

import numpy as np
from rich import box
from rich.table import Table
from scipy import stats

from laperm_jax._paths import map_by_path
from laperm_jax.lab.config import make_config, resolve
from laperm_jax.lab.config.commands import EvaluateConfig, check_evaluate
from laperm_jax.lab.data import datasets
from laperm_jax.lab.inspection import keras_weights
from laperm_jax.lab.models.networks import Variables
from laperm_jax.lab.training.build import build_evaluation
from laperm_jax.lab.training.selection import reordered_axes
from laperm_jax.sync._vectors import weight_vectors

LEVEL = 1e-3  # of the test, for all vectors of a kernel together: one true sample in 1,000 kernels is refused


class Counts(NamedTuple):
    """How the weight vectors of one kernel or bias look; each is one of the three.

    Attributes:
      he_uniform: like a permutation of a He-uniform sample.
      shared: all entries that are not zero are one value.
      free: neither.
      values: the values shared, ascending.
      kept: share of all entries that are not zero.
    """

    he_uniform: int
    shared: int
    free: int
    values: tuple[float, ...]
    kept: float


def evaluate(config: EvaluateConfig) -> tuple[float, dict[str, Counts]]:
    """Loads a weight file into its network and classifies the test images, prepared as in training.

    Args:
      config: settings.

    Returns:
      The share of test images classified right; path of each kernel and bias, but those of BatchNorm, in network order,
      to what its vectors look like.

    Raises:
      ConfigError: for a file that does not hold the network's weights, and if the dataset is not prepared.
    """
    check_evaluate(config)
    settings = make_config(model=config.model, dataset=config.dataset, permute_biases=True)
    dataset = datasets.load_images(config.dataset, config.data_dir)
    task, network, evaluator = build_evaluation(resolve(settings), dataset)
    axes = reordered_axes(settings, network.shapes.params)
    weights = keras_weights.load(config.keras_weights, config.model, dataset.test.images.shape[1:])
    variables = Variables(*(map_by_path(lambda path, _: weights[path], tree) for tree in network.shapes))
    counts = {path: describe(weight_vectors(array, axes[path])) for path, array in weights.items() if path in axes}
    return evaluator.score(variables, task.test), counts


def describe(vectors: np.ndarray) -> Counts:
    """Says what weight vectors look like.

    A vector looks He-uniform if its entries, but for zeros (pruned weights), are within +-sqrt(6 / fan_in) and a
    Kolmogorov-Smirnov test against the uniform distribution there gives p >= ``LEVEL`` / vectors (Bonferroni). Short
    vectors pass easily. A single entry shares its value with none, and is tested.

    Args:
      vectors: ``(vectors, fan_in)``.

    Returns:
      The counts.

    Example:
      >>> import numpy as np
      >>> from laperm_jax.lab.inspection.evaluation import describe
      >>> uniform = np.random.default_rng(0).uniform(-0.1, 0.1, size=600)
      >>> describe(np.stack([uniform, 3 * uniform, np.where(uniform > 0, 0.08, 0)]))[:3]
      (1, 1, 1)
    """
    he_uniform, values = 0, []
    limit = (6 / vectors.shape[1]) ** 0.5
    for vector in vectors:
        kept = vector[vector != 0]
        if len(kept) != 1 and (kept == kept[:1]).all():  # of finite floats but zeros, equal is equal bit for bit
            values.append(float(kept[0]) if len(kept) else 0.0)
        elif (abs(kept) <= limit * (1 + 1e-6)).all():  # float32 may round a drawn value up to the limit
            p = stats.kstest(kept, "uniform", args=(-limit, 2 * limit)).pvalue
            he_uniform += int(p >= LEVEL / len(vectors))
    free = len(vectors) - he_uniform - len(values)
    return Counts(he_uniform, len(values), free, tuple(sorted(set(values))), float((vectors != 0).mean()))


def table(counts: dict[str, Counts]) -> Table:
    """The counts for a terminal of 80 columns, with their sums in the last row."""
    table = Table(
        title="what each weight vector looks like",
        caption=f"uniform: He-uniform, within +-sqrt(6 / fan-in) and\nKolmogorov-Smirnov p >= {LEVEL:g} / vectors",
        box=box.SIMPLE,
        pad_edge=False,
        collapse_padding=True,
    )
    for name in ("weights", "vectors", "uniform", "shared", "free", "value", "kept"):
        table.add_column(name, justify="left" if name == "weights" else "right", no_wrap=True)
    for path, count in counts.items():
        ends = dict.fromkeys(f"{value:g}" for value in (count.values[:1] + count.values[-1:]))
        table.add_row(path, *_numbers([count]), "..".join(ends) or "-", f"{count.kept:.1%}")
    table.add_section()
    table.add_row("all", *_numbers(list(counts.values())))
    return table


def _numbers(counts: list[Counts]) -> list[str]:
    looks = [sum(column) for column in zip(*(count[:3] for count in counts), strict=True)]
    return [f"{number:,}" for number in (sum(looks), *looks)]
