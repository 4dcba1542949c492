"""The network of a run, built from its settings, as pure functions."""

import itertools
from typing import Any, NamedTuple

import jax
from flax import nnx
from jax.nn.initializers import Initializer, zeros

from laperm_jax._paths import map_by_path
from laperm_jax.initializers import Recipe
from laperm_jax.lab.config import ConfigError, TrainConfig
from laperm_jax.lab.models import classifiers, initialization
from laperm_jax.lab.models.approximation import Approximator
from laperm_jax.lab.models.classifiers import KernelInit, Shape
from laperm_jax.lab.models.quantization import quantizer
from laperm_jax.lab.models.transformers import LanguageModel, Size, VisionTransformer

Tree = dict[str, Any]


def build(config: TrainConfig, input_shape: Shape, outputs: int, kernel_init: KernelInit, rngs: nnx.Rngs) -> nnx.Module:
    """Builds the network of a run.

    Args:
      config: settings, resolved.
      input_shape: shape of one example: an image, the length of a text, the coordinates of a point.
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


class Variables(NamedTuple):
    """Parameters of a network, and its BatchNorm statistics (empty without BatchNorm)."""

    params: Tree
    batch_stats: Tree


class Network:
    """The network of a run as pure functions of its variables.

    Attributes:
      shapes: variables as shapes and dtypes.

    Args:
      config: settings, resolved.
      input_shape: shape of one example: an image, the length of a text, the coordinates of a point.
      outputs: number of features that the network returns.

    Raises:
      ConfigError: if network, initial weights and data do not fit together.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from laperm_jax.lab.config import make_config
      >>> from laperm_jax.lab.models.networks import Network
      >>> network = Network(make_config(widths=(32,)), input_shape=(8, 8, 1), outputs=10)
      >>> network.predict(network.init(jax.random.key(0)), jnp.zeros((5, 8, 8, 1))).shape
      (5, 10)
    """

    def __init__(self, config: TrainConfig, input_shape: Shape, outputs: int):
        kernels = _kernel_recipes(config, input_shape, outputs)
        self._build = lambda key: build(
            config, input_shape, outputs, lambda number: kernels[number].make(), nnx.Rngs(key)
        )
        self._jitted_build = nnx.jit(self._build)
        abstract = nnx.eval_shape(self._build, jax.random.key(0))
        self._graph = nnx.graphdef(abstract)
        self._quantize = quantizer(config.model.quantize)
        self.shapes = _variables(abstract)

    def init(self, key: jax.Array) -> Variables:
        """Draws the initial variables."""
        return _variables(self._jitted_build(key))

    def draw_params(self, key: jax.Array) -> Tree:
        """The initial parameters, for use inside jit."""
        return _variables(self._build(key)).params

    def apply(self, variables: Variables, inputs: jax.Array, dropout_key: jax.Array) -> tuple[jax.Array, Tree]:
        """Outputs in training mode, and the updated BatchNorm statistics."""
        model = self._module(variables)
        outputs = model(inputs, nnx.Rngs(dropout_key))
        return outputs, _variables(model).batch_stats

    def _module(self, variables: Variables) -> nnx.Module:
        quantize = lambda path, leaf: self._quantize(path, leaf) if path.endswith("kernel") else leaf
        return nnx.merge(self._graph, map_by_path(quantize, variables.params), variables.batch_stats)

    def predict(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """Outputs in evaluation mode: no dropout, running BatchNorm statistics."""
        model = self._module(variables)
        model = nnx.with_attributes(model, deterministic=True, use_running_average=True, raise_if_not_found=False)
        return model(inputs)

    def measure_batch_stats(self, variables: Variables, inputs: jax.Array) -> Tree:
        """The BatchNorm statistics of one batch, without dropout."""
        model = self._module(variables)
        model = nnx.with_attributes(model, only=nnx.Dropout, deterministic=True, raise_if_not_found=False)
        model = nnx.with_attributes(model, only=nnx.BatchNorm, momentum=0.0)
        model(inputs)
        return _variables(model).batch_stats


def _variables(model: nnx.Module) -> Variables:
    return Variables(*(nnx.to_pure_dict(nnx.state(model, kind)) for kind in (nnx.Param, nnx.BatchStat)))


def recipes(config: TrainConfig, input_shape: Shape, outputs: int, key: jax.Array) -> dict[str, Recipe]:
    """How :meth:`Network.init` draws each kernel from a PRNG key: recipes by path.

    Raises:
      ConfigError: as :class:`Network`.
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
