"""Text from a language model: what `laperm sample` prints."""

from pathlib import Path

import jax.numpy as jnp

from laperm_jax._paths import map_by_path
from laperm_jax.lab.config import ConfigError, resolve
from laperm_jax.lab.data import datasets
from laperm_jax.lab.models.generation import LENGTH, PROMPT, TEMPERATURE, continue_text
from laperm_jax.lab.models.networks import Network
from laperm_jax.lab.runs import run_folder


def sample(
    run: Path,
    prompt: str = PROMPT,
    length: int = LENGTH,
    temperature: float = TEMPERATURE,
    seed: int = 0,
    data_dir: Path | None = None,
) -> str:
    """Continues a text with the network of a run, its reconnected weights.

    Args:
      run: folder that ``laperm train --task language --out`` has written.
      prompt: what to continue, one character or more; of a long one the network sees the end.
      length: number of characters to add.
      temperature: divides the logits; 0 takes the most likely character.
      seed: seed of the sampling.
      data_dir: data directory of TensorFlow Datasets, whose text says what the characters are.

    Returns:
      The prompt and what follows.

    Raises:
      ConfigError: for a run of another task or one that has not come to its end, characters that the network does not
        know, and numbers out of range.
    """
    config, final = resolve(run_folder.read_config(run)), run_folder.read_weights(run)
    if config.task != "language":
        raise ConfigError(f"{run} is a run of --task {config.task}; name one of --task language")
    if not prompt:
        raise ConfigError("--prompt is empty; give one character or more")
    for option, number in {"--length": length, "--temperature": temperature}.items():
        if not 0 <= number < float("inf"):
            raise ConfigError(f"{option} is {number}; it must be 0 or greater")
    vocabulary = datasets.load_text(config.data.dataset, data_dir).vocabulary
    network = Network(config, (config.model.context,), len(vocabulary))
    params = map_by_path(lambda path, leaf: jnp.asarray(final[path]), network.shapes.params)
    return continue_text(network, params, vocabulary, config.model.context, prompt, length, temperature, seed)
