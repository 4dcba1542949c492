"""Trained networks as a seed and permutations: a file format near the entropy, bit-exact or refused."""

from laperm_jax.codec._container import MAX_BYTES as MAX_BYTES
from laperm_jax.codec._container import VERSION as VERSION
from laperm_jax.codec._container import CodecError as CodecError
from laperm_jax.codec._container import entropy as entropy
from laperm_jax.codec._container import metadata as metadata
from laperm_jax.codec._container import pack as pack
from laperm_jax.codec._container import places_bytes as places_bytes
from laperm_jax.codec._container import unpack as unpack
