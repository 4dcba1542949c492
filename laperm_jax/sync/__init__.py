"""One sync of arrays: sort the initial weights, and place them by the ranks of the current ones.

The only place of the package that sorts. It knows arrays, not parameter trees.
"""

from laperm_jax.sync._dispatch import implementation as implementation
from laperm_jax.sync._reconnect import reconnect as reconnect
from laperm_jax.sync._reconnect import sort_vectors as sort_vectors
