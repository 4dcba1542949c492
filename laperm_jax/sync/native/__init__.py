"""The native kernel for CPUs: a C++ library called through the XLA FFI. Its sources are in ``src/``."""

from laperm_jax.sync.native._call import place as place
from laperm_jax.sync.native._call import sort as sort
from laperm_jax.sync.native._load import DTYPES as DTYPES
from laperm_jax.sync.native._load import status as status
