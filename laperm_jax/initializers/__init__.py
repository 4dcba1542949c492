"""Initial weights: sparse, shared-value and few-value initializers, in the form of ``jax.nn.initializers``."""

from laperm_jax.initializers._recipe import FAN_IN_SCALED as FAN_IN_SCALED
from laperm_jax.initializers._recipe import INITIALIZERS as INITIALIZERS
from laperm_jax.initializers._recipe import Recipe as Recipe
from laperm_jax.initializers._spaced import equidistant as equidistant
from laperm_jax.initializers._spaced import levels as levels
from laperm_jax.initializers._spaced import symmetric_uniform as symmetric_uniform
from laperm_jax.initializers._sparse import shared_value as shared_value
from laperm_jax.initializers._sparse import sparse as sparse
