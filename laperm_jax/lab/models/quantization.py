"""Kernels of few values by other methods, for comparison: quantised ones and supermasks, straight through."""

import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from laperm_jax.lab.config import ConfigError

QuantizeFn = Callable[[str, jax.Array], jax.Array]

_ROUNDS = 15  # of fitting the levels to a kernel
_HALVINGS = 30  # of the bounds of a threshold


def quantizer(text: str | None) -> QuantizeFn:
    """Makes the function of a kernel that ``--quantize`` names.

    ``nearest:N`` rounds to N evenly spaced levels, symmetric around zero, with the spacing that minimises the squared
    error; ``kmeans:N`` to the means of N clusters. ``supermask:SHARE`` is edge-popup (Ramanujan et al., 2020): the
    kernel holds scores, and that share of the highest, by size, keeps its weight, which is random and fixed: of one
    size, with He's variance, and a sign drawn from the kernel's path. All others are zero. The gradient passes straight
    through to the kernel (Bengio et al., 2013), so that a network trains with it.

    Args:
      text: ``nearest:N``, ``kmeans:N``, ``supermask:SHARE``, or None for kernels as they are.

    Returns:
      A function from a path and its kernel to the values to compute with, of the same shape and dtype.

    Raises:
      ConfigError: if the text is none of these.

    Example:
      >>> import jax.numpy as jnp
      >>> from laperm_jax.lab.models.quantization import quantizer
      >>> kernel = jnp.array([-1.2, -0.8, 0.1, 0.9, 1.1])
      >>> quantizer("nearest:3")("dense1/kernel", kernel).tolist()
      [-1.0, -1.0, 0.0, 1.0, 1.0]
    """
    if text is None:
        return lambda path, kernel: kernel
    fits = {"nearest": _evenly_spaced, "kmeans": _k_means}
    match text.split(":"):
        case ["nearest" | "kmeans" as name, number] if number.isdigit() and 2 <= int(number) <= 256:
            return _rounded(fits[name], int(number))
        case ["supermask", number] if number.replace(".", "", 1).isdigit() and 0 < float(number) < 1:
            return _supermask(float(number))
    raise ConfigError(
        f"--quantize is {text}; it must be nearest:N or kmeans:N, with N from 2 to 256, "
        "or supermask:SHARE, with a share between 0 and 1"
    )


def _rounded(fit: Callable[[jax.Array, int], jax.Array], count: int) -> QuantizeFn:
    def quantize(_: str, kernel: jax.Array) -> jax.Array:
        levels = fit(lax.stop_gradient(kernel), count)
        return levels[_nearest(lax.stop_gradient(kernel), levels)] + _zero(kernel)

    return quantize


def _supermask(share: float) -> QuantizeFn:
    def mask(path: str, scores: jax.Array) -> jax.Array:
        sizes = jnp.abs(scores)
        chosen = sizes >= _threshold(lax.stop_gradient(sizes), round(share * scores.size))
        signs = jax.random.rademacher(jax.random.key(zlib.crc32(path.encode())), scores.shape, scores.dtype)
        fan_in = scores.size // scores.shape[-1]
        return signs * (2 / (fan_in * share)) ** 0.5 * (chosen + _zero(sizes))

    return mask


def _zero(array: jax.Array) -> jax.Array:
    """Zeros with the gradient of the array."""
    return array - lax.stop_gradient(array)


def _threshold(sizes: jax.Array, count: int) -> jax.Array:
    """About the count-th largest, by bisection: XLA sorts twenty times longer on a CPU."""

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = (low + high) / 2
        too_many = (sizes >= middle).sum() > count
        return jnp.where(too_many, middle, low), jnp.where(too_many, high, middle)

    return lax.fori_loop(0, _HALVINGS, halve, (jnp.zeros_like(sizes.max()), sizes.max()))[1]


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
