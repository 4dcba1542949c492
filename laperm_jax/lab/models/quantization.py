"""Quantised kernels for comparison with few-level networks: evenly spaced levels or k-means, straight through."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from laperm_jax.lab.config import ConfigError

QuantizeFn = Callable[[jax.Array], jax.Array]

_ROUNDS = 15  # of fitting the levels to a kernel


def quantizer(text: str | None) -> QuantizeFn:
    """Makes the function of a kernel that ``--quantize`` names.

    The levels fit the kernel: ``nearest:N`` are N evenly spaced ones, symmetric around zero, with the spacing that
    minimises the squared error; ``kmeans:N`` are the means of N clusters. The gradient passes
    straight through to the kernel (Bengio et al., 2013), so that a network trains with it.

    Args:
      text: ``nearest:N``, ``kmeans:N``, or None for kernels as they are.

    Returns:
      A function from a kernel to its quantised values, of the same shape and dtype.

    Raises:
      ConfigError: if the text is neither.

    Example:
      >>> import jax.numpy as jnp
      >>> from laperm_jax.lab.models.quantization import quantizer
      >>> kernel = jnp.array([-1.2, -0.8, 0.1, 0.9, 1.1])
      >>> quantizer("nearest:3")(kernel).tolist()
      [-1.0, -1.0, 0.0, 1.0, 1.0]
    """
    if text is None:
        return lambda kernel: kernel
    name, _, number = text.partition(":")
    fits = {"nearest": _evenly_spaced, "kmeans": _k_means}
    if name not in fits or not number.isdigit() or not 2 <= int(number) <= 256:
        raise ConfigError(f"--quantize is {text}; it must be nearest:N or kmeans:N, with N from 2 to 256")
    fit, count = fits[name], int(number)

    def quantize(kernel: jax.Array) -> jax.Array:
        levels = fit(lax.stop_gradient(kernel), count)
        quantized = levels[_nearest(lax.stop_gradient(kernel), levels)]
        return quantized + (kernel - lax.stop_gradient(kernel))  # zero, with the gradient of the kernel

    return quantize


def _nearest(kernel: jax.Array, levels: jax.Array) -> jax.Array:
    """Number of the nearest of some ascending levels."""
    return jnp.searchsorted((levels[1:] + levels[:-1]) / 2, kernel, method="compare_all")


def _evenly_spaced(kernel: jax.Array, count: int) -> jax.Array:
    unit = jnp.linspace(-1, 1, count, dtype=kernel.dtype)
    about_the_largest = kernel.std() * (2 * jnp.log(count)) ** 0.5  # of the best levels for normal weights

    def refit(_: int, scale: jax.Array) -> jax.Array:
        chosen = unit[_nearest(kernel, scale * unit)]
        return (kernel * chosen).sum() / (chosen * chosen).sum().clip(1e-12)

    return lax.fori_loop(0, _ROUNDS, refit, about_the_largest) * unit


def _k_means(kernel: jax.Array, count: int) -> jax.Array:
    values = kernel.ravel()

    def refit(_: int, levels: jax.Array) -> jax.Array:
        cluster = _nearest(values, levels)
        sums = jax.ops.segment_sum(values, cluster, count)
        members = jax.ops.segment_sum(jnp.ones_like(values), cluster, count)
        return jnp.where(members > 0, sums / members.clip(1), levels)

    start = jnp.quantile(values, (jnp.arange(count) + 0.5) / count)
    return lax.fori_loop(0, _ROUNDS, refit, start)
