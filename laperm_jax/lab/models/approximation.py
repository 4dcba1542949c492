"""Functions on an interval or a square, and networks with one hidden layer whose coefficients alone are trained.

After Cai, Chen and Qiao, Neural networks trained by weight permutation are universal approximators (arXiv 2407.01033):
hidden units stand in pairs that rise to either side of a place, and only their coefficients are reordered.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.nn.initializers import Initializer

_CURVATURE = 40.0  # of sin(2 pi x), 4 pi^2: coefficients of order one, however many, begin with what it takes


class Approximator(nnx.Module):
    r"""A network with one hidden layer of ReLUs, of which only the coefficients and two numbers are trained.

    On the line, :math:`f(x) = \alpha + 40 \gamma \sum_i [p_i (x - b_i)_+ + q_i (b_i - x)_+] / n` with n units at places
    :math:`b_i` spaced evenly on [0, 1]. In the plane units rise along directions that are spread evenly over the
    circle. The coefficients :math:`(p, q)` are one weight vector; :math:`\alpha` and
    :math:`\gamma` are left to the inner optimiser.

    Args:
      dimensions: 1 or 2.
      widths: number of hidden units, an even one.
      kernel_init: initializer of the coefficients ``(units, 1)``.
      rngs: not used; nothing else is drawn.

    Raises:
      ValueError: for more than one hidden layer, and a number of units that is not even.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from laperm_jax.initializers import equidistant
      >>> from laperm_jax.lab.models.approximation import Approximator
      >>> model = Approximator(1, (10,), equidistant(1.0), nnx.Rngs(0))
      >>> model(jnp.zeros((4, 1))).shape
      (4, 1)
    """

    def __init__(self, dimensions: int, widths: Sequence[int], kernel_init: Initializer, rngs: nnx.Rngs):
        if len(widths) != 1 or widths[0] % 2:
            raise ValueError("approximator: --widths must be one even number, that of the hidden units")
        self.dimensions, self.units = dimensions, widths[0]
        self.coefficients = nnx.Linear(widths[0], 1, use_bias=False, kernel_init=kernel_init, rngs=rngs)
        self.shift, self.scale = nnx.Param(jnp.float32(0)), nnx.Param(jnp.float32(1))

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Returns values ``(batch, 1)`` for points ``(batch, dimensions)``."""
        del rngs  # there is no dropout
        directions, places = hidden_units(self.dimensions, self.units)
        hidden = nnx.relu(x @ directions.T - places)
        return self.shift[...] + _CURVATURE * self.scale[...] * self.coefficients(hidden) / self.units


def hidden_units(dimensions: int, units: int) -> tuple[np.ndarray, np.ndarray]:
    """Directions that units rise along, float32 ``(units, dimensions)``, and where on them, float32 ``(units,)``.

    Example:
      >>> from laperm_jax.lab.models.approximation import hidden_units
      >>> directions, places = hidden_units(1, 6)
      >>> directions.ravel().tolist(), places.tolist()
      ([1.0, 1.0, 1.0, -1.0, -1.0, -1.0], [0.0, 0.5, 1.0, -0.0, -0.5, -1.0])
    """
    pairs = units // 2
    if dimensions == 1:
        along, places = np.ones((pairs, 1)), np.linspace(0, 1, pairs)
    else:  # multiples of the golden ratio are spread evenly, however many there are
        angles = 2 * np.pi * (np.arange(pairs) * (5**0.5 - 1) / 2 % 1)
        along = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        places = along @ [0.5, 0.5] + np.linspace(-0.5, 0.5, pairs) * 2**0.5
    return np.concatenate([along, -along]).astype(np.float32), np.concatenate([places, -places]).astype(np.float32)
