"""Text from a language model: what `laperm sample` prints."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from laperm_jax._paths import map_by_path
from laperm_jax.lab.config import ConfigError, resolve
from laperm_jax.lab.data import datasets
from laperm_jax.lab.data.tasks import Language
from laperm_jax.lab.runs import run_folder
from laperm_jax.lab.training.trainer import Trainer, Tree

PROMPT, TEMPERATURE = "ROMEO:", 0.8


def sample(
    run: Path,
    prompt: str = PROMPT,
    length: int = 500,
    temperature: float = TEMPERATURE,
    seed: int = 0,
    data_dir: Path | None = None,
) -> str:
    """Continues a text with the network of a run, its reconnected weights.

    Args:
      run: folder that ``laperm train --task language --out`` has written.
      prompt: what to continue, one character or more; of a long one the network sees the end.
      length: number of characters to add.
      temperature: divides the logits; 0 takes the likeliest character.
      seed: what is drawn.
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
    trainer = Trainer(config, datasets.load_text(config.data.dataset, data_dir))
    params = map_by_path(lambda path, leaf: jnp.asarray(final[path]), trainer.initial_params)
    return continue_text(trainer, params, prompt, length, temperature, seed)


def continue_text(
    trainer: Trainer,
    params: Tree,
    prompt: str = PROMPT,
    length: int = 500,
    temperature: float = TEMPERATURE,
    seed: int = 0,
) -> str:
    """Continues a text with the network of a trainer and these parameters, as :func:`sample` does."""
    assert isinstance(trainer.task, Language)
    vocabulary, context = trainer.task.vocabulary, trainer.config.model.context
    tokens = datasets.encode(vocabulary, prompt.encode("latin-1", errors="replace"))[-context:]
    window = np.pad(tokens.astype(np.int32), (0, context - len(tokens)))
    drawn = _generate(
        trainer.graph, params, window, np.int32(len(tokens)), np.float32(temperature), jax.random.key(seed), length
    )
    return prompt + np.frombuffer(vocabulary, np.uint8)[np.asarray(drawn)].tobytes().decode("latin-1")


@functools.partial(jax.jit, static_argnames=("graph", "length"))
def _generate(
    graph: Any,
    params: Tree,
    window: jax.typing.ArrayLike,
    filled: jax.typing.ArrayLike,
    temperature: np.floating,
    key: jax.Array,
    length: int,
) -> jax.Array:
    """Tokens int32 ``(length,)`` after a window ``(context,)`` that is filled from the left, and moves when full."""
    model, context = nnx.merge(graph, params, {}), jnp.shape(window)[0]

    def add(carry: tuple[jax.Array, jax.Array], key: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        window, filled = carry
        logits = model(window[None])[0, filled - 1]
        drawn = jax.random.categorical(key, logits / jnp.maximum(temperature, 1e-6))
        token = jnp.where(temperature > 0, drawn, logits.argmax()).astype(jnp.int32)
        full = filled == context
        window = jnp.where(full, jnp.roll(window, -1), window)
        place = jnp.where(full, context - 1, filled)
        return (window.at[place].set(token), place + 1), token

    _, tokens = lax.scan(add, (jnp.asarray(window), jnp.asarray(filled)), jax.random.split(key, length))
    return tokens
