"""Train neural networks by reordering their random initial weights: LaPerm as an Optax gradient transformation."""

from importlib.metadata import version as _version

from laperm_jax import initializers as initializers
from laperm_jax._equinox import equinox_fan_in as equinox_fan_in
from laperm_jax._nnx import nnx_fan_in as nnx_fan_in
from laperm_jax._reset import norm_reset as norm_reset
from laperm_jax._rules import all_fan_in as all_fan_in
from laperm_jax._rules import flax_fan_in as flax_fan_in
from laperm_jax._rules import matrix_fan_in as matrix_fan_in
from laperm_jax._rules import path_fan_in as path_fan_in
from laperm_jax._schedules import at_steps as at_steps
from laperm_jax._schedules import every as every
from laperm_jax._schedules import growing as growing
from laperm_jax._schedules import shrinking as shrinking
from laperm_jax._schedules import with_learning_rate as with_learning_rate
from laperm_jax._state import LaPermState as LaPermState
from laperm_jax._tabulate import tabulate as tabulate
from laperm_jax._transform import LaPerm as LaPerm
from laperm_jax._transform import laperm as laperm
from laperm_jax.sync._reconnect import reconnect as reconnect
from laperm_jax.sync._reconnect import sort_vectors as sort_vectors

__version__ = _version("laperm-jax")
