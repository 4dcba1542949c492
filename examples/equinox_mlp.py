"""LaPerm with Equinox: weights are `(out, in)`, so the rule is `equinox_fan_in`. scikit-learn's digits."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from laperm_jax import equinox_fan_in, laperm

STEPS = 400


def he_uniform(model):
    """Reordering cannot make weights larger, and Equinox's own are small."""
    scale = lambda layer: eqx.tree_at(lambda layer: layer.weight, layer, 6**0.5 * layer.weight)
    return eqx.tree_at(lambda model: model.layers, model, tuple(map(scale, model.layers)))


def main():
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = map(jnp.asarray, train_test_split(images / 16, labels, random_state=0))
    model = he_uniform(eqx.nn.MLP(64, 10, 128, depth=1, key=jax.random.key(0)))
    params, static = eqx.partition(model, eqx.is_inexact_array)

    tx = laperm(optax.adam(optax.cosine_decay_schedule(5e-3, STEPS)), sync_period=25, fan_in_axes=equinox_fan_in)
    opt_state = tx.init(params)

    def logits(params, images):
        return jax.vmap(eqx.combine(params, static))(images)

    @jax.jit
    def step(params, opt_state):
        loss = lambda params: optax.softmax_cross_entropy_with_integer_labels(logits(params, train_x), train_y).mean()
        updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    for _ in range(STEPS):
        params, opt_state = step(params, opt_state)

    trained = tx.reconnected_params(opt_state, params)
    for before, after in zip(model.layers, trained.layers, strict=True):
        assert (jnp.sort(before.weight, axis=1) == jnp.sort(after.weight, axis=1)).all()
    print(f"test accuracy {jnp.mean(logits(trained, test_x).argmax(axis=1) == test_y):.3f}, weights only reordered")


if __name__ == "__main__":
    main()
