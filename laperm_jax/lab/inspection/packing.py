"""Packing the weights of a run, and unpacking them: `laperm pack` and `laperm unpack`."""

import hashlib
import re
from pathlib import Path

from laperm_jax import codec, flax_fan_in
from laperm_jax.initializers import Recipe
from laperm_jax.lab.config import ConfigError, OutputError, TrainConfig, resolve
from laperm_jax.lab.data import datasets
from laperm_jax.lab.models import networks
from laperm_jax.lab.runs import run_folder, weights
from laperm_jax.lab.training.seeds import split_seed

_FILE_SHA256 = "sha256 of weights.safetensors"


def pack(run: Path, out: Path, *, store_values: bool = False) -> tuple[int, int]:
    """Packs the final weights of a run: kernels as recipes and permutations, all others unchanged.

    Args:
      run: folder that ``laperm train --out`` has written.
      out: file to write; it must not exist.
      store_values: whether to store the initial values as well.

    Returns:
      Size of the run's weights and of the file, in bytes.

    Raises:
      ConfigError: if there is no such run, it has no sync period, its weights are not permutations of its initial
        values as they are drawn here, or the file exists.
      OutputError: if the file cannot be written.
    """
    config = run_folder.read_config(run)
    if config.sync.sync_period is None:
        raise ConfigError(f"{run} was trained without a sync period: its weights are not permutations")
    final = run_folder.read_weights(run)
    _check_new(out)
    size = (run / run_folder.WEIGHTS).stat().st_size
    metadata = {
        "model": config.model.model,
        "dataset": config.data.dataset,
        _FILE_SHA256: _sha256(weights.to_bytes(final)),
    }
    of_run = recipes(config)
    try:
        file = codec.pack(final, of_run, flax_fan_in, store_values=store_values, metadata=metadata)
    except ModuleNotFoundError as error:
        raise ConfigError(str(error)) from None
    except ValueError as error:
        raise ConfigError(f"{run} cannot be packed: {error}; pack it with the jax that trained it") from error
    _write(out, file)
    return size, len(file)


def unpack(file: Path, out: Path, *, max_bytes: int = codec.MAX_BYTES) -> Path:
    """Unpacks a network to ``weights.safetensors``, byte for byte the file of the run that was packed.

    Args:
      file: what ``laperm pack`` has written.
      out: folder to write to; made if missing.
      max_bytes: largest size of the weights.

    Returns:
      Path of the file that was written.

    Raises:
      ConfigError: if there is no such file, it cannot be unpacked (:class:`laperm_jax.codec.CodecError`), or the folder
        holds ``weights.safetensors`` already.
      OutputError: if the file cannot be written.
    """
    target = out / run_folder.WEIGHTS
    _check_new(target)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be read: {error.strerror}; name a file that `laperm pack` has written"
        ) from None
    try:
        unpacked = weights.to_bytes(codec.unpack(content, max_bytes=max_bytes))
    except (codec.CodecError, ModuleNotFoundError) as error:
        raise ConfigError(f"{file} cannot be unpacked: {error}") from error
    if codec.metadata(content).get(_FILE_SHA256) not in (None, _sha256(unpacked)):
        raise ConfigError(
            f"{file} cannot be unpacked: safetensors lays a file out differently here than where it was packed; use "
            "the version that wrote it"
        )
    _write(target, unpacked)
    return target


def recipes(config: TrainConfig) -> dict[str, Recipe]:
    """How the initial values of each kernel of a run are drawn, except those left to the inner optimiser.

    Example:
      >>> from laperm_jax.lab.inspection import packing
      >>> from laperm_jax.lab.config import make_config
      >>> recipe = packing.recipes(make_config(widths=(32,), keep=(0.5,), seed=3))["output/kernel"]
      >>> recipe.initializer, recipe.keep, recipe.draw((32, 10), "float32").shape
      ('he_uniform', 0.5, (32, 10))
    """
    init_key, _, _ = split_seed(config.seed)
    config = resolve(config)
    found = networks.recipes(config, *datasets.shapes(config), init_key)
    try:
        free = {path for path in found for pattern in config.sync.free if re.search(pattern, path)}
    except re.error as error:
        raise ConfigError(f"--free {error.pattern!r} is not a valid regular expression: {error}") from None
    return {path: recipe for path, recipe in found.items() if path not in free}


def _check_new(path: Path) -> None:
    if path.exists():
        raise ConfigError(f"{path} exists already; remove it, or name another")


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        run_folder.write(path, content)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
