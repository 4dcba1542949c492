"""Text from a language model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from laperm_jax.lab.data import datasets
from laperm_jax.lab.models.networks import Network, Tree, Variables

PROMPT, LENGTH, TEMPERATURE = "ROMEO:", 500, 0.8


def continue_text(
    network: Network,
    params: Tree,
    vocabulary: bytes,
    context: int,
    prompt: str = PROMPT,
    length: int = LENGTH,
    temperature: float = TEMPERATURE,
    seed: int = 0,
) -> str:
    """Continues a text, character by character.

    Args:
      network: a language model.
      params: its parameters.
      vocabulary: the characters that it knows.
      context: length of its context window.
      prompt: text to continue, one character or more; only its end is seen if it is longer than the context.
      length: number of characters to add.
      temperature: divides the logits; 0 takes the most likely character.
      seed: seed of the sampling.

    Returns:
      The prompt and its continuation.

    Raises:
      ConfigError: for characters that are not in the vocabulary.
    """
    tokens = datasets.encode(vocabulary, prompt.encode("latin-1", errors="replace"))[-context:]
    window = np.pad(tokens.astype(np.int32), (0, context - len(tokens)))
    drawn = _generate(
        network, params, window, np.int32(len(tokens)), np.float32(temperature), jax.random.key(seed), length
    )
    return prompt + np.frombuffer(vocabulary, np.uint8)[np.asarray(drawn)].tobytes().decode("latin-1")


@functools.partial(jax.jit, static_argnames=("network", "length"))
def _generate(
    network: Network,
    params: Tree,
    window: jax.typing.ArrayLike,
    filled: jax.typing.ArrayLike,
    temperature: np.floating,
    key: jax.Array,
    length: int,
) -> jax.Array:
    """Tokens int32 ``(length,)`` after a window ``(context,)`` of which the first ``filled`` are given."""
    context = jnp.shape(window)[0]

    def add(carry: tuple[jax.Array, jax.Array], key: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        window, filled = carry
        logits = network.predict(Variables(params, {}), window[None])[0, filled - 1]
        drawn = jax.random.categorical(key, logits / jnp.maximum(temperature, 1e-6))
        token = jnp.where(temperature > 0, drawn, logits.argmax()).astype(jnp.int32)
        full = filled == context
        window = jnp.where(full, jnp.roll(window, -1), window)
        place = jnp.where(full, context - 1, filled)
        return (window.at[place].set(token), place + 1), token

    _, tokens = lax.scan(add, (jnp.asarray(window), jnp.asarray(filled)), jax.random.split(key, length))
    return tokens
