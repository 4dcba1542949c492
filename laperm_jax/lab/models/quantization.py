"""Kernels of few values by other methods, for comparison: quantised ones and supermasks, straight through."""

import math
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from laperm_jax import flax_fan_in
from laperm_jax.lab.config import ConfigError

QuantizeFn = Callable[[str, jax.Array], jax.Array]

_SCALES = 32  # that are tried for evenly spaced levels
_REFITS = 5  # of the best of them
_ROUNDS = 15  # of fitting the means of clusters
_TINY = 1e-12  # in place of a zero to divide by
_HALVINGS = 30  # of the bounds of a threshold


def quantizer(text: str | None) -> QuantizeFn:
    """Makes the function of a kernel that ``--quantize`` names.

    ``nearest:N`` rounds to N evenly spaced levels, symmetric around zero, with the spacing of the least squared error
    among 32 from the mean size of the weights to the largest, refitted; ``kmeans:N`` to the means of N clusters.
    ``supermask:SHARE`` is edge-popup (Ramanujan et al., 2020): the kernel holds scores, and that share of the highest,
    by size, keeps its weight, which is random and fixed: of one size, with He's variance, and a sign drawn from the
    kernel's path. All others are zero. The gradient passes straight through to the kernel (Bengio et al., 2013), so
    that a network trains with it.

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
        case ["nearest" | "kmeans" as name, number] if (
            len(number) <= 3 and number.isdecimal() and 2 <= int(number) <= 256
        ):
            return _rounded(fits[name], int(number))
        case ["supermask", number] if number.replace(".", "", 1).isdecimal() and 0 < float(number) < 1:
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
        fan_in = math.prod(scores.shape[axis] for axis in flax_fan_in(path, scores) or ())
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
    sizes, intervals = jnp.abs(kernel), count - 1
    smallest, largest = sizes.mean().clip(_TINY), sizes.max().clip(_TINY)

    def chosen(scale: jax.Array) -> jax.Array:
        """The nearest of ``count`` levels from -1 to 1: by arithmetic, faster than by comparing."""
        number = jnp.ceil((kernel / scale.clip(_TINY) + 1) * intervals / 2 - 0.5).clip(0, intervals)
        return 2 * number / intervals - 1

    def error(scale: jax.Array) -> jax.Array:
        return jnp.square(kernel - scale * chosen(scale)).sum()

    def refit(_: int, scale: jax.Array) -> jax.Array:
        levels = chosen(scale)
        return (kernel * levels).sum() / jnp.square(levels).sum().clip(_TINY)

    # A refit stops at the nearest minimum: far from the best where the outermost levels are empty, or the tails long.
    scales = jnp.geomspace(smallest, largest, _SCALES)
    best = scales[lax.map(error, scales).argmin()]
    return lax.fori_loop(0, _REFITS, refit, best) * jnp.linspace(-1, 1, count, dtype=kernel.dtype)


def _k_means(kernel: jax.Array, count: int) -> jax.Array:
    values = kernel.ravel()

    def refit(_: int, levels: jax.Array) -> jax.Array:
        cluster = _nearest(values, levels)
        sums = jax.ops.segment_sum(values, cluster, count)
        members = jax.ops.segment_sum(jnp.ones_like(values), cluster, count)
        return jnp.where(members > 0, sums / members.clip(1), levels)

    start = jnp.quantile(values, (jnp.arange(count) + 0.5) / count)
    return lax.fori_loop(0, _ROUNDS, refit, start)
