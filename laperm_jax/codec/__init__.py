"""Trained networks as a seed and permutations: a file format near the entropy, bit-exact or refused."""

from laperm_jax.codec._container import VERSION as VERSION
from laperm_jax.codec._container import CodecError as CodecError
from laperm_jax.codec._packing import MAX_BYTES as MAX_BYTES
from laperm_jax.codec._packing import entropy as entropy
from laperm_jax.codec._packing import metadata as metadata
from laperm_jax.codec._packing import pack as pack
from laperm_jax.codec._packing import permutation_bytes as permutation_bytes
from laperm_jax.codec._packing import unpack as unpack
