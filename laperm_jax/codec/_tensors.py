"""Arrays in the header, checked against bounds, and their content."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from laperm_jax.codec import _permutations, _recipes
from laperm_jax.codec._bit_model import MAX_LAGS
from laperm_jax.codec._container import CodecError
from laperm_jax.codec._fields import MAX_NDIM, boolean, integer, integers, one_of, text
from laperm_jax.initializers import Recipe
from laperm_jax.sync._vectors import Axes, canonical_axes

FLOATS = ("float16", "bfloat16", "float32", "float64")
DTYPES = (*FLOATS, "bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)))


class Tensor(NamedTuple):
    """An array of a file.

    Attributes:
      path: its path.
      dtype: one of ``DTYPES``.
      shape: its shape.
      values_bytes: length of the initial values in the file; 0 if they are drawn.
      content_bytes: length of what follows them: the array itself, or its permutation where it has a recipe.
      recipe: how its initial values are drawn.
      axes: axes of one vector.
      lags: lags that its permutation is decoded with.
      bits_back: whether the order of its equal values was taken from the stream.
      values_sha256: hexadecimal checksum of its initial values.
    """

    path: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    values_bytes: int
    content_bytes: int
    recipe: Recipe | None = None
    axes: Axes = ()
    lags: tuple[int, ...] = ()
    bits_back: bool = False
    values_sha256: str = ""

    @classmethod
    def from_json(cls, fields: Any) -> "Tensor":
        """Reads an entry of the header.

        Raises:
          CodecError: if it says what cannot be.
        """
        try:
            tensor = cls._read(fields)
            tensor._check()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CodecError(f"Invalid header: {error if isinstance(error, ValueError) else repr(error)}") from None
        return tensor

    @classmethod
    def _read(cls, fields: Any) -> "Tensor":
        shape = integers(fields["shape"], MAX_NDIM)
        recipe = fields.get("recipe")
        dtype = jnp.dtype(one_of(fields["dtype"], DTYPES if recipe is None else FLOATS))
        tensor = cls(text(fields["path"]), dtype, shape, integer(fields["values_bytes"]), integer(fields["bytes"]))
        if recipe is None:
            return tensor
        return tensor._replace(
            recipe=_recipes.from_json(recipe, math.prod(shape)),
            axes=canonical_axes(integers(fields["axes"], MAX_NDIM), len(shape)),
            lags=integers(fields["lags"], MAX_LAGS),
            bits_back=boolean(fields.get("bits_back", False)),
            values_sha256=text(fields["values_sha256"]),
        )

    def _check(self) -> None:
        stored = self.content_bytes if self.recipe is None else self.values_bytes or self.nbytes
        if stored != self.nbytes or (self.recipe is None and self.values_bytes):
            raise ValueError(f"{self.path} is stored in {stored:,} bytes; its shape {self.shape} has another size")
        if 0 in self.lags:
            raise ValueError(f"{self.path} has the lags {self.lags}; they must be 1 or more")
        if self.recipe and (self.content_bytes % 4 or self.fan_in > _permutations.MAX_FAN_IN):
            raise ValueError(
                f"{self.path} has a permutation in {self.content_bytes:,} bytes, and vectors of {self.fan_in:,} entries"
            )

    def to_json(self) -> dict[str, Any]:
        """The entry of the header."""
        fields: dict[str, Any] = {"path": self.path, "dtype": self.dtype.name, "shape": self.shape}
        if self.recipe is not None:
            recipe = _recipes.to_json(self.recipe)
            fields |= {"axes": self.axes, "recipe": recipe, "values_sha256": self.values_sha256, "lags": self.lags}
            fields |= {"bits_back": True} if self.bits_back else {}
        return fields | {"values_bytes": self.values_bytes, "bytes": self.content_bytes}

    @property
    def nbytes(self) -> int:
        """Size of the array."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def fan_in(self) -> int:
        """Length of its vectors."""
        return math.prod(self.shape[axis] for axis in self.axes)

    def array(self, content: memoryview) -> np.ndarray:
        """Bytes of the file as a flat array, a copy in the byte order of this machine."""
        unsigned = np.frombuffer(content, f"<u{self.dtype.itemsize}")
        if self.dtype == bool and (unsigned > 1).any():
            raise CodecError(f"Invalid file: {self.path} holds something else than 0 and 1")
        return unsigned.astype(f"u{self.dtype.itemsize}").view(self.dtype)


def read_tensors(fields: Sequence[Any]) -> list[Tensor]:
    """Reads all entries of a header.

    Raises:
      CodecError: if one says what cannot be, two have the same path, or drawing them takes too long.
    """
    tensors = [Tensor.from_json(of_tensor) for of_tensor in fields]
    for path, count in Counter(tensor.path for tensor in tensors).items():
        if count > 1:
            raise CodecError(f"Invalid header: {count} arrays have the path {path}")
    drawn = [tensor for tensor in tensors if tensor.recipe and not tensor.values_bytes]
    try:
        _recipes.check_work((tensor.recipe, math.prod(tensor.shape)) for tensor in drawn if tensor.recipe)
    except ValueError as error:
        raise CodecError(f"Invalid header: {error}") from None
    return tensors


def check_size(tensors: Sequence[Tensor], max_bytes: int) -> None:
    """Checks the size of all arrays; an axis of length 0 counts as 1, since arrays are worked on along the others.

    Raises:
      CodecError: if it is larger than ``max_bytes``.
    """
    size = sum(math.prod(max(axis, 1) for axis in tensor.shape) * tensor.dtype.itemsize for tensor in tensors)
    if size > max_bytes:
        raise CodecError(f"the weights are {size:,} bytes, and max_bytes allows {max_bytes:,}")


def little_endian(array: np.ndarray) -> bytes:
    """The bytes of an array, as the file holds them."""
    return np.ascontiguousarray(array).view(f"u{array.itemsize}").astype(f"<u{array.itemsize}").tobytes()


def sha256(array: np.ndarray) -> str:
    """Hexadecimal checksum of the bytes of an array."""
    return hashlib.sha256(little_endian(array)).hexdigest()


def digest(weights: Mapping[str, np.ndarray]) -> str:
    """Hexadecimal checksum of paths, dtypes, shapes and bytes, in their order."""
    result = hashlib.sha256()
    for path, array in weights.items():
        result.update(json.dumps([path, array.dtype.name, array.shape], separators=(",", ":")).encode())
        result.update(little_endian(array))
    return result.hexdigest()
