"""Trained networks as a seed and permutations: initial values are drawn again, and only their places are stored.

docs/format.md describes the file for those who write a decoder in another language.
"""

import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from laperm_jax._paths import check_paths, leaves_by_path
from laperm_jax._rules import FanInRule, matrix_fan_in, vector_axes
from laperm_jax.codec import _permutations
from laperm_jax.initializers import Recipe
from laperm_jax.sync._vectors import Axes, canonical_axes, from_vectors

VERSION = 1
_MAGIC = b"\x93LAPERM"
_PREFIX = len(_MAGIC) + 1 + hashlib.sha256().digest_size
_MAX_HEADER = 2**22
MAX_BYTES = 2**30
_MAX_TENSORS = 2**12
_MAX_STEPS = 2**24  # minutes
_DTYPES = (
    *("float16", "bfloat16", "float32", "float64", "bool"),
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
)


class CodecError(ValueError):
    """A file that is not unpacked; the message says why, and what to do."""


def pack(
    params: optax.Params,
    recipes: Mapping[str, Recipe],
    fan_in_axes: FanInRule | Mapping[str, Axes] = matrix_fan_in,
    *,
    store_values: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Packs a network: of the weights that have a recipe their places, all others as they are.

    Args:
      params: a tree of reconnected parameters (and of whatever else, such as BatchNorm statistics).
      recipes: path of each leaf that is a permutation of its initial values, to how these are drawn.
      fan_in_axes: as of :func:`laperm_jax.laperm`.
      store_values: whether to store the initial values, too, without their places: such a file can be unpacked where
        JAX draws other numbers, and is larger than the weights.
      metadata: whatever else to keep, as text.

    Returns:
      The file.

    Raises:
      ValueError: if a leaf with a recipe is not, vector by vector and bit for bit, a permutation of what is drawn; for
        recipes of unknown leaves, or that cannot be drawn; for dtypes and sizes that the format does not have, and
        vectors of millions of entries.
      ModuleNotFoundError: if constriction, the entropy coder, is not installed.

    Example:
      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> from laperm_jax import codec
      >>> from laperm_jax.initializers import Recipe
      >>> recipe = Recipe("he_uniform", key=(0, 7))
      >>> initial = recipe.draw((784, 300), jnp.float32)
      >>> trained = np.random.default_rng(0).permuted(initial, axis=0)
      >>> file = codec.pack({"dense": {"kernel": trained, "bias": np.ones(300)}}, {"dense/kernel": recipe})
      >>> weights = codec.unpack(file)
      >>> bool((weights["dense/kernel"] == trained).all()), round(len(file) / trained.nbytes, 2)
      (True, 0.26)
    """
    check_paths(recipes, params, "recipes")
    axes = vector_axes(fan_in_axes, params)
    if missing := sorted(recipes.keys() - axes.keys()):
        raise ValueError(f"{', '.join(missing)} have recipes, but fan_in_axes gives them no vectors")
    weights = {path: np.asarray(leaf) for path, leaf in leaves_by_path(params).items()}
    tensors, parts, steps = [], [], 0
    for path, array in weights.items():
        if array.dtype.name not in _DTYPES:
            raise ValueError(f"{path} is {array.dtype}; the format has {', '.join(_DTYPES)}")
        tensor: dict[str, Any] = {"path": path, "dtype": array.dtype.name, "shape": array.shape}
        values = b""
        if path in recipes:
            ranks, ascending = _ranks(path, array, recipes[path].draw(array.shape, array.dtype), axes[path])
            recipe = {name: x for name, x in recipes[path]._asdict().items() if name != "shape" or x}
            tensor |= {"axes": axes[path], "recipe": recipe, "values_sha256": _sha256(ascending)}
            values = _little_endian(ascending) if store_values else b""
            steps = _add_steps(steps, path, ascending)
            words, tensor["lags"] = _permutations.encode(ranks, _keys(ascending))
            content = words.astype("<u4").tobytes()
        else:
            content = _little_endian(array)
        parts += [values, content]
        tensors.append(tensor | {"values_bytes": len(values), "bytes": len(content)})
    header = {
        "jax": jax.__version__,
        "platform": jax.default_backend(),  # its draws may differ from another's by rounding
        "sha256": _digest(weights),
        "metadata": dict(metadata or {}),
        "tensors": tensors,
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    packed = zlib.compress(text, level=9)
    if len(text) > _MAX_HEADER or len(tensors) > _MAX_TENSORS:
        raise ValueError(
            f"{len(tensors):,} arrays and a header of {len(text):,} bytes; the format allows {_MAX_TENSORS:,} and "
            f"{_MAX_HEADER:,}"
        )
    rest = b"".join([len(packed).to_bytes(8, "little"), packed, *parts])
    return _MAGIC + bytes([VERSION]) + hashlib.sha256(rest).digest() + rest


def unpack(file: bytes, *, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Unpacks a network, to the bit, or refuses.

    Args:
      file: what :func:`pack` returned.
      max_bytes: size of the weights that is not exceeded: a short file can name a long array.

    Returns:
      Path of each leaf to its array, as it was packed.

    Raises:
      CodecError: for a file that is damaged, of another format or version, or larger than ``max_bytes``, and where this
        JAX draws other values than the packer's did.
      ModuleNotFoundError: if constriction, the entropy coder, is not installed.
    """
    header, body = _read(file)
    tensors = [_Tensor.read(tensor) for tensor in header["tensors"]]
    if (size := sum(tensor.nbytes for tensor in tensors)) > max_bytes:
        raise CodecError(f"the weights are {size:,} bytes, and max_bytes allows {max_bytes:,}")
    if sum(tensor.values_bytes + tensor.content_bytes for tensor in tensors) != len(body):
        raise CodecError("the file is damaged: its arrays are not as long as its header says")
    weights, steps = {}, 0
    for tensor in tensors:
        values, content = body[: tensor.values_bytes], body[tensor.values_bytes :][: tensor.content_bytes]
        body = body[tensor.values_bytes + tensor.content_bytes :]
        if tensor.recipe is None:
            weights[tensor.path] = tensor.array(content).reshape(tensor.shape)
            continue
        ascending = tensor.ascending(values)
        if _sha256(ascending) != tensor.values_sha256:
            here, there = _where(jax.__version__, jax.default_backend()), _where(header["jax"], header["platform"])
            raise CodecError(
                f"the initial values of {tensor.path} are drawn otherwise here ({here}) than where the file was packed "
                f"({there}): unpack it there, or pack it with the values stored"
            )
        steps = _add_steps(steps, tensor.path, ascending)
        weights[tensor.path] = tensor.place(ascending, content)
    if _digest(weights) != header["sha256"]:
        raise CodecError("the file is damaged: the weights are not those that were packed")
    return weights


def metadata(file: bytes) -> dict[str, str]:
    """The text that was packed with a network.

    Raises:
      CodecError: for a file that is damaged, or of another format or version.
    """
    return _read(file)[0]["metadata"]


def places_bytes(file: bytes) -> dict[str, int]:
    """Path of each array that is a permutation of its initial values, to the size that its places take.

    Raises:
      CodecError: for a file that is damaged, or of another format or version.
    """
    tensors = map(_Tensor.read, _read(file)[0]["tensors"])
    return {tensor.path: tensor.content_bytes for tensor in tensors if tensor.recipe}


def entropy(array: np.ndarray, axes: Axes) -> float:
    r"""Bits it takes to tell one arrangement of each vector's values from all others.

    :math:`\sum_j \log_2 (n_j! / \prod_i m_{ji}!)`, where :math:`m_{ji}` of the :math:`n_j` values of a vector are
    equal. That is :math:`\log_2 n!` where all differ, and :math:`\log_2 \binom{n}{z}` with one value and z zeros.

    Example:
      >>> import numpy as np
      >>> from laperm_jax import codec
      >>> arrangements = 2 ** codec.entropy(np.array([[0.0], [0.0], [0.5], [0.5], [0.5]]), axes=(0,))
      >>> round(arrangements)  # 5! / (2! 3!)
      10
    """
    columns = _columns(np.asarray(array), canonical_axes(axes, np.ndim(array)))
    return _permutations.entropy(np.sort(_keys(columns), axis=0))


class _Tensor(NamedTuple):
    """What the header says of an array."""

    path: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    values_bytes: int
    content_bytes: int
    recipe: Recipe | None
    axes: Axes
    lags: tuple[int, ...]
    values_sha256: str

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def fan_in(self) -> int:
        return math.prod(self.shape[axis] for axis in self.axes)

    @classmethod
    def read(cls, content: Any) -> "_Tensor":
        try:
            shape, recipe = tuple(map(_natural, content["shape"])), content.get("recipe")
            if len(shape) > 32:
                raise ValueError(f"{len(shape)} dimensions")
            if recipe is not None:
                recipe = Recipe(**recipe)
                recipe = recipe._replace(key=tuple(recipe.key), args=tuple(recipe.args), shape=tuple(recipe.shape))
            tensor = cls(
                content["path"],
                jnp.dtype(_one_of(content["dtype"], _DTYPES)),
                shape,
                _natural(content["values_bytes"]),
                _natural(content["bytes"]),
                recipe,
                canonical_axes(tuple(map(_natural, content.get("axes", ()))), len(shape)),
                tuple(map(_natural, content.get("lags", ()))),
                content.get("values_sha256", ""),
            )
            tensor._check()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CodecError(f"the file is damaged: its header says what cannot be ({error})") from None
        return tensor

    def _check(self) -> None:
        if not isinstance(self.path, str) or not self.path.isprintable():
            raise TypeError("a path is no text")
        stored = self.content_bytes if self.recipe is None else self.values_bytes or self.nbytes
        if stored != self.nbytes or (self.recipe is None and self.values_bytes):
            raise ValueError(f"{self.path} is stored in {stored:,} bytes, and its shape {self.shape} has another size")
        if len(self.lags) > _permutations.MOST_LAGS or 0 in self.lags:
            raise ValueError(f"{self.path} has the lags {self.lags}")
        if self.recipe and (self.content_bytes % 4 or self.fan_in > _permutations.LONGEST):
            raise ValueError(
                f"{self.path} has places in {self.content_bytes:,} bytes, vectors of {self.fan_in:,} entries"
            )

    def array(self, content: memoryview) -> np.ndarray:
        """A copy, for the file is not to be written to, in the byte order of this machine."""
        unsigned = np.frombuffer(content, f"<u{self.dtype.itemsize}")
        return unsigned.astype(f"u{self.dtype.itemsize}").view(self.dtype)

    def ascending(self, values: memoryview) -> np.ndarray:
        """The initial values ``(fan_in, vectors)``, each column ascending: those stored, or else drawn again."""
        if self.values_bytes:
            return self.array(values).reshape(self.fan_in, -1)
        assert self.recipe
        try:
            drawn = self.recipe.draw(self.shape, self.dtype)
        except Exception as error:  # whatever an initializer does with arguments that are not its own
            raise CodecError(f"{self.path} cannot be drawn as {self.recipe}: {error}") from None
        return _from_keys(np.sort(_keys(_columns(drawn, self.axes)), axis=0), self.dtype)

    def place(self, ascending: np.ndarray, content: memoryview) -> np.ndarray:
        try:
            ranks = _permutations.decode(np.frombuffer(content, "<u4"), self.lags, _keys(ascending))
        except ValueError as error:
            raise CodecError(f"the file is damaged: the places of {self.path} cannot be read: {error}") from None
        columns = np.take_along_axis(ascending, ranks, axis=0)
        return from_vectors(columns.T, self.shape, self.axes)


def _read(file: bytes) -> tuple[dict[str, Any], memoryview]:
    """The header, checked but for its arrays, and what comes after it."""
    view = memoryview(file)
    if view[: len(_MAGIC)] != _MAGIC:
        raise CodecError("this is no packed network: `laperm pack` writes them")
    if view[len(_MAGIC) : len(_MAGIC) + 1] != bytes([VERSION]):
        raise CodecError(f"the file is of another version of the format than {VERSION}, or damaged; update laperm_jax")
    rest = view[_PREFIX:]
    if hashlib.sha256(rest).digest() != view[_PREFIX - 32 : _PREFIX]:
        raise CodecError("the file is damaged or truncated: its checksum does not match; get it anew")
    length = int.from_bytes(rest[:8], "little")
    if length > len(rest) - 8:
        raise CodecError("the file is damaged: its header is longer than the file")
    try:
        inflater = zlib.decompressobj()
        text = inflater.decompress(rest[8 : 8 + length], _MAX_HEADER)
        if not inflater.eof:
            raise ValueError(f"it is cut short, or longer than {_MAX_HEADER:,} bytes")
        header = json.loads(text)
        texts = [header["jax"], header["platform"], header["sha256"], *header["metadata"].values()]
        if not isinstance(header["tensors"], list) or len(header["tensors"]) > _MAX_TENSORS:
            raise TypeError(f"it does not list {_MAX_TENSORS:,} arrays or less")
        if not all(isinstance(text, str) for text in texts) or not "".join(texts[:3]).isprintable():
            raise TypeError("a text is something else")
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError, zlib.error) as error:
        raise CodecError(f"the file is damaged: its header cannot be read ({error})") from None
    return header, rest[8 + length :]


def _add_steps(steps: int, path: str, ascending: np.ndarray) -> int:
    """Counts the steps that decoding takes, so that no file takes hours."""
    steps += _permutations.steps(_keys(ascending))
    if steps > _MAX_STEPS:
        raise CodecError(f"up to {path} decoding takes {steps:,} steps; {_MAX_STEPS:,} are allowed")
    return steps


def _ranks(path: str, array: np.ndarray, initial: np.ndarray, axes: Axes) -> tuple[np.ndarray, np.ndarray]:
    """Which of its initial values each place of a vector has, and these ascending; both ``(fan_in, vectors)``."""
    columns = _columns(array, axes)
    if len(columns) > _permutations.LONGEST:
        raise ValueError(f"the vectors of {path} have {len(columns):,} entries; at most {_permutations.LONGEST:,} work")
    keys, ascending = _keys(columns), np.sort(_keys(_columns(initial, axes)), axis=0)
    order = np.argsort(keys, axis=0)
    if (np.take_along_axis(keys, order, axis=0) != ascending).any():
        raise ValueError(f"{path} is no permutation of the initial values that its recipe draws")
    ranks = np.empty(order.shape, np.int32)
    np.put_along_axis(ranks, order, np.arange(len(order), dtype=np.int32)[:, None], axis=0)
    return ranks, _from_keys(ascending, array.dtype)


def _columns(array: np.ndarray, axes: Axes) -> np.ndarray:
    """The vectors of an array as columns ``(fan_in, vectors)``."""
    outputs = tuple(axis for axis in range(array.ndim) if axis not in axes)
    fan_in = math.prod(array.shape[axis] for axis in axes)
    return array.transpose(*axes, *outputs).reshape(fan_in, math.prod(array.shape[axis] for axis in outputs))


def _keys(array: np.ndarray) -> np.ndarray:
    """Unsigned integers in the order of the numbers, one for each bit pattern: -0 is less than +0."""
    bits = np.ascontiguousarray(array).view(f"u{array.itemsize}")
    sign = bits.dtype.type(1 << (8 * array.itemsize - 1))
    return np.where(bits & sign, ~bits, bits ^ sign)


def _from_keys(keys: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """The inverse of :func:`_keys`."""
    sign = keys.dtype.type(1 << (8 * keys.itemsize - 1))
    return np.where(keys & sign, keys ^ sign, ~keys).view(dtype)


def _little_endian(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).view(f"u{array.itemsize}").astype(f"<u{array.itemsize}").tobytes()


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(_little_endian(array)).hexdigest()


def _digest(weights: Mapping[str, np.ndarray]) -> str:
    """Of paths, dtypes, shapes and bytes, in the order of the file."""
    digest = hashlib.sha256()
    for path, array in weights.items():
        digest.update(json.dumps([path, array.dtype.name, array.shape], separators=(",", ":")).encode())
        digest.update(_little_endian(array))
    return digest.hexdigest()


def _where(version: str, platform: str) -> str:
    return f"jax {version} on {platform}"


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**48:
        raise ValueError(f"{value!r} is no size")
    return value


def _one_of(value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
    return value
