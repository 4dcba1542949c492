"""The network of a run, made from its settings."""

import itertools
from collections.abc import Callable

import jax
from flax import nnx
from jax.nn.initializers import Initializer, zeros

from laperm_jax.initializers import Recipe
from laperm_jax.lab.config import ConfigError, TrainConfig
from laperm_jax.lab.models import classifiers, initialization
from laperm_jax.lab.models.approximation import Approximator
from laperm_jax.lab.models.classifiers import KernelInit, Shape
from laperm_jax.lab.models.transformers import LanguageModel, Size, VisionTransformer


def build(config: TrainConfig, input_shape: Shape, outputs: int, kernel_init: KernelInit, rngs: nnx.Rngs) -> nnx.Module:
    """Builds the network of a run.

    Args:
      config: settings, resolved.
      input_shape: of one example: an image, the length of a text, the coordinates of a point.
      outputs: number of features that the network returns.
      kernel_init: gives the initializer of each kernel, by its number in network order from 0.
      rngs: where initial weights are drawn from.

    Returns:
      A module called as ``model(inputs, rngs)``, with ``rngs`` for dropout.

    Raises:
      ConfigError: if network and data do not fit together.
    """
    size = Size(config.model.layers, config.model.features, config.model.heads, config.model.activations)
    kernel_inits = map(kernel_init, itertools.count())
    try:
        match config.model.model:
            case "transformer":
                return LanguageModel(outputs, input_shape[0], size, kernel_inits, rngs)
            case "vit":
                return VisionTransformer(input_shape, outputs, config.model.patch, size, kernel_inits, rngs)
            case "approximator":
                return Approximator(input_shape[0], config.model.widths, next(kernel_inits), rngs)
            case name:
                return classifiers.build(
                    name, input_shape, outputs, widths=config.model.widths, kernel_init=kernel_init, rngs=rngs
                )
    except ValueError as error:
        raise ConfigError(str(error)) from None


def maker(config: TrainConfig, input_shape: Shape, outputs: int) -> Callable[[jax.Array], nnx.Module]:
    """Returns a function that makes the network, with the initial weights of its settings, from a PRNG key.

    Raises:
      ConfigError: as :func:`build`, and for settings of initial weights that do not fit the network.
    """
    recipes = _kernel_recipes(config, input_shape, outputs)
    return lambda key: build(config, input_shape, outputs, lambda number: recipes[number].make(), nnx.Rngs(key))


def recipes(config: TrainConfig, input_shape: Shape, outputs: int, key: jax.Array) -> dict[str, Recipe]:
    """How each kernel of the network that :func:`maker` makes from a PRNG key is drawn: recipes by path.

    Raises:
      ConfigError: as :func:`maker`.
    """
    without_keys = _kernel_recipes(config, input_shape, outputs)
    found: dict[str, Recipe] = {}

    @jax.jit  # in which nothing but the keys is computed
    def keys(key: jax.Array) -> dict[str, jax.Array]:
        recording = lambda number: initialization.recording(without_keys[number])
        draws = initialization.recorded_draws(build(config, input_shape, outputs, recording, nnx.Rngs(key)))
        for path, (draw, shape) in draws.items():
            found[path] = draw.recipe._replace(shape=() if draw.shape == shape else draw.shape)
        return {path: draw.key_data for path, (draw, _) in draws.items()}

    data, impl = jax.device_get(keys(key)), str(jax.random.key_impl(key))
    return {path: recipe._replace(key=tuple(data[path].tolist()), impl=impl) for path, recipe in found.items()}


def _kernel_recipes(config: TrainConfig, input_shape: Shape, outputs: int) -> list[Recipe]:
    number = _count_kernels(config, input_shape, outputs)
    keep, rescale = config.sparsity.keep, config.sparsity.keep_rescale
    return initialization.kernel_recipes(config.model.init, keep, number, rescale=rescale)


def _count_kernels(config: TrainConfig, input_shape: Shape, outputs: int) -> int:
    numbers = []

    def kernel_init(number: int) -> Initializer:
        numbers.append(number)
        return zeros

    nnx.eval_shape(lambda: build(config, input_shape, outputs, kernel_init, nnx.Rngs(0)))
    return len(numbers)
