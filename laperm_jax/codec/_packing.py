"""Packs networks as recipes and permutations, and unpacks them bit for bit."""

from collections.abc import Mapping

import jax
import numpy as np

from laperm_jax._paths import PyTree, check_paths, leaves_by_path
from laperm_jax.codec import _container, _permutations
from laperm_jax.codec._container import CodecError
from laperm_jax.codec._tensors import DTYPES, Tensor, check_size, digest, little_endian, read_tensors, sha256
from laperm_jax.initializers import Recipe
from laperm_jax.rules._fan_in import FanInRule, matrix_fan_in, vector_axes
from laperm_jax.sync._keys import bit_keys, from_bit_keys
from laperm_jax.sync._vectors import Axes, as_columns, canonical_axes, from_columns

MAX_BYTES = 2**30
"""The largest size of the weights that `unpack` allows unless it is told otherwise."""

MAX_STEPS = 2**24  # iterations of a decoder's loops: minutes


def pack(
    params: PyTree,
    recipes: Mapping[str, Recipe],
    fan_in_axes: FanInRule | Mapping[str, Axes] = matrix_fan_in,
    *,
    store_values: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Packs a network: weights that have a recipe as permutations, all others unchanged.

    Args:
      params: a tree of reconnected parameters (and of whatever else, such as BatchNorm statistics).
      recipes: path of each leaf that is a permutation of its initial values, to how these are drawn.
      fan_in_axes: which axes form a weight vector, as in :func:`laperm_jax.laperm`.
      store_values: whether to store the initial values, too, sorted: such a file can be unpacked where JAX draws other
        numbers, and is larger than the weights.
      metadata: texts to keep with the network.

    Returns:
      The file.

    Raises:
      ValueError: if a leaf with a recipe is not, vector by vector and bit for bit, a permutation of what is drawn; for
        recipes of unknown leaves, or that cannot be drawn; for dtypes, paths and sizes that the format does not have,
        and vectors of millions of entries.
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
    tensors, contents, steps = [], [], 0
    for path, array in weights.items():
        if array.dtype.name not in DTYPES:
            raise ValueError(f"{path} is {array.dtype}; the format has {', '.join(DTYPES)}")
        values, content = b"", little_endian(array)
        tensor = Tensor(path, array.dtype, array.shape, 0, len(content))
        if path in recipes:
            ranks, ascending = _ranks(path, array, recipes[path].draw(array.shape, array.dtype), axes[path])
            values = little_endian(ascending) if store_values else b""
            keys = bit_keys(ascending)
            bits_back = _permutations.saves_bits(keys)
            steps = _add_steps(steps, path, keys, bits_back)
            coded = _permutations.encode(ranks, keys, bits_back)
            content = coded.words.astype("<u4").tobytes()
            tensor = Tensor(
                *(path, array.dtype, array.shape, len(values), len(content)),
                *(recipes[path], axes[path], coded.lags, coded.bits_back, sha256(ascending)),
            )
        tensors.append(tensor)
        contents += [values, content]
    header = {
        "jax": jax.__version__,
        "platform": jax.default_backend(),  # its draws may differ from another's by rounding
        "sha256": digest(weights),
        "metadata": dict(metadata or {}),
        "tensors": [tensor.to_json() for tensor in tensors],
    }
    file = _container.write(header, contents)
    read_tensors(_container.read(file)[0]["tensors"])  # refuses what unpack would refuse
    return file


def unpack(file: bytes, *, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Unpacks a network bit for bit, or refuses.

    Args:
      file: what :func:`pack` returned.
      max_bytes: largest size of the weights: a short file can name a long array.

    Returns:
      Path of each leaf to its array, as it was packed.

    Raises:
      CodecError: if the file is damaged, of another format or version, or larger than ``max_bytes``, and where this JAX
        draws other values than the packer's did.
      ModuleNotFoundError: if constriction, the entropy coder, is not installed.

    Example:
      >>> import numpy as np
      >>> from laperm_jax import codec
      >>> codec.unpack(codec.pack({"dense": {"bias": np.ones(2)}}, recipes={}))
      {'dense/bias': array([1., 1.])}
    """
    header, body = _container.read(file)
    tensors = read_tensors(header["tensors"])
    check_size(tensors, max_bytes)
    if sum(tensor.values_bytes + tensor.content_bytes for tensor in tensors) != len(body):
        raise CodecError("Invalid file: its arrays are not as long as its header says")
    weights, steps = {}, 0
    for tensor in tensors:
        values, content = body[: tensor.values_bytes], body[tensor.values_bytes :][: tensor.content_bytes]
        body = body[tensor.values_bytes + tensor.content_bytes :]
        if tensor.recipe is None:
            weights[tensor.path] = tensor.array(content).reshape(tensor.shape)
            continue
        ascending = _ascending(tensor, values)
        if sha256(ascending) != tensor.values_sha256:
            here, there = _where(jax.__version__, jax.default_backend()), _where(header["jax"], header["platform"])
            raise CodecError(
                f"the initial values of {tensor.path} are drawn otherwise here ({here}) than where the file was packed "
                f"({there}): unpack it there, or pack it with the values stored"
            )
        steps = _add_steps(steps, tensor.path, bit_keys(ascending), tensor.bits_back)
        weights[tensor.path] = _permuted(tensor, ascending, content)
    if digest(weights) != header["sha256"]:
        raise CodecError("Invalid file: the weights are not those that were packed")
    return weights


def metadata(file: bytes) -> dict[str, str]:
    """Returns the texts that were packed with a network.

    Args:
      file: what :func:`pack` returned.

    Returns:
      Name to text, as given to :func:`pack`.

    Raises:
      CodecError: if the file is damaged, or of another format or version.

    Example:
      >>> import numpy as np
      >>> from laperm_jax import codec
      >>> codec.metadata(codec.pack({"bias": np.ones(2)}, recipes={}, metadata={"dataset": "mnist"}))
      {'dataset': 'mnist'}
    """
    return _container.read(file)[0]["metadata"]


def permutation_bytes(file: bytes) -> dict[str, int]:
    """Returns how many bytes each permutation takes in a packed network.

    Args:
      file: what :func:`pack` returned.

    Returns:
      Path of each array that is a permutation of its initial values, to bytes.

    Raises:
      CodecError: if the file is damaged, or of another format or version.

    Example:
      >>> import jax.numpy as jnp
      >>> from laperm_jax import codec
      >>> from laperm_jax.initializers import Recipe
      >>> recipe = Recipe("he_uniform", key=(0, 7))
      >>> kernel = recipe.draw((784, 300), jnp.float32)[::-1]
      >>> file = codec.pack({"kernel": kernel, "bias": jnp.zeros(300)}, {"kernel": recipe})
      >>> codec.permutation_bytes(file)["kernel"] < kernel.nbytes / 3
      True
    """
    tensors = read_tensors(_container.read(file)[0]["tensors"])
    return {tensor.path: tensor.content_bytes for tensor in tensors if tensor.recipe}


def entropy(array: np.ndarray, axes: Axes) -> float:
    """Bits that tell one order of each vector's values from all others.

    A vector of n values, of which m1, m2, ... are equal, has ``log2(n! / (m1! m2! ...))`` bits: ``log2(n!)`` where all
    differ, the logarithm of a binomial coefficient where all are zero or one value. The vectors' bits are added up.

    Args:
      array: weights of any shape and dtype.
      axes: axes of one weight vector.

    Returns:
      The least size of a permutation of the array, in bits.

    Example:
      >>> import numpy as np
      >>> from laperm_jax import codec
      >>> orders = 2 ** codec.entropy(np.array([[0.0], [0.0], [0.5], [0.5], [0.5]]), axes=(0,))
      >>> round(orders)  # 5! / (2! 3!)
      10
    """
    columns = as_columns(np.asarray(array), canonical_axes(axes, np.ndim(array)))
    return _permutations.entropy(np.sort(bit_keys(columns), axis=0))


def _add_steps(steps: int, path: str, keys: np.ndarray, bits_back: bool) -> int:
    """Counts the iterations that decoding takes, so that no file takes hours."""
    steps += _permutations.steps(keys, bits_back)
    if steps > MAX_STEPS:
        raise CodecError(f"up to {path} decoding takes {steps:,} steps; {MAX_STEPS:,} are allowed")
    return steps


def _ranks(path: str, array: np.ndarray, initial: np.ndarray, axes: Axes) -> tuple[np.ndarray, np.ndarray]:
    """Number of the initial value at each position of a vector, and these ascending; both ``(fan_in, vectors)``."""
    columns = as_columns(array, axes)
    if len(columns) > _permutations.MAX_FAN_IN:
        raise ValueError(
            f"the vectors of {path} have {len(columns):,} entries; at most {_permutations.MAX_FAN_IN:,} work"
        )
    if initial.dtype != array.dtype:
        raise ValueError(f"{path} is {array.dtype} and drawn as {initial.dtype}: float64 needs jax_enable_x64")
    keys, ascending = bit_keys(columns), np.sort(bit_keys(as_columns(initial, axes)), axis=0)
    order = np.argsort(keys, axis=0)
    if (np.take_along_axis(keys, order, axis=0) != ascending).any():
        raise ValueError(f"{path} is not a permutation of the initial values that its recipe draws")
    ranks = np.empty(order.shape, np.int32)
    np.put_along_axis(ranks, order, np.arange(len(order), dtype=np.int32)[:, None], axis=0)
    return ranks, from_bit_keys(ascending, array.dtype)


def _ascending(tensor: Tensor, values: memoryview) -> np.ndarray:
    """The initial values ``(fan_in, vectors)``, each column ascending: those stored, or else drawn."""
    if tensor.values_bytes:
        stored = tensor.array(values).reshape(tensor.fan_in, -1)
        keys = bit_keys(stored)
        if (keys[1:] < keys[:-1]).any():
            raise CodecError(f"Invalid file: the initial values of {tensor.path} are not sorted")
        return stored
    assert tensor.recipe
    try:
        drawn = tensor.recipe.draw(tensor.shape, tensor.dtype)
        if drawn.dtype != tensor.dtype:
            raise ValueError("float64 needs jax_enable_x64")
    except Exception as error:  # whatever an initializer does with arguments that are not its own
        raise CodecError(f"{tensor.path} cannot be drawn as {tensor.recipe}: {error}") from None
    return from_bit_keys(np.sort(bit_keys(as_columns(drawn, tensor.axes)), axis=0), tensor.dtype)


def _permuted(tensor: Tensor, ascending: np.ndarray, content: memoryview) -> np.ndarray:
    try:
        coded = _permutations.Coded(np.frombuffer(content, "<u4"), tensor.lags, tensor.bits_back)
        ranks = _permutations.decode(coded, bit_keys(ascending))
    except ValueError as error:
        raise CodecError(f"Invalid file: the permutation of {tensor.path} cannot be read: {error}") from None
    columns = np.take_along_axis(ascending, ranks, axis=0)
    return from_columns(columns, tensor.shape, tensor.axes).copy()


def _where(version: str, platform: str) -> str:
    return f"jax {version} on {platform}"
