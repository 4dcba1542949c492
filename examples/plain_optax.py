"""LaPerm with JAX and Optax alone: a multilayer perceptron on scikit-learn's digits."""

import itertools

import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from laperm_jax import laperm

STEPS = 600


def init_params(key, widths=(64, 128, 10)):
    he_uniform = jax.nn.initializers.he_uniform()
    return {
        f"dense{n}": {"kernel": he_uniform(jax.random.fold_in(key, n), shape), "bias": jnp.zeros(shape[1])}
        for n, shape in enumerate(itertools.pairwise(widths))
    }


def logits(params, images):
    hidden = jax.nn.relu(images @ params["dense0"]["kernel"] + params["dense0"]["bias"])
    return hidden @ params["dense1"]["kernel"] + params["dense1"]["bias"]


def loss(params, images, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits(params, images), labels).mean()


def main():
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = map(jnp.asarray, train_test_split(images / 16, labels, random_state=0))

    # LaPerm wraps any Optax optimiser. By default every matrix is reordered, each column by itself; biases are trained.
    tx = laperm(optax.adam(optax.cosine_decay_schedule(5e-3, STEPS)), sync_period=25)
    params = initial = init_params(jax.random.key(0))
    opt_state = tx.init(params)

    @jax.jit
    def step(params, opt_state):
        grads = jax.grad(loss)(params, train_x, train_y)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    for _ in range(STEPS):
        params, opt_state = step(params, opt_state)

    # Evaluate, save and report these: bit for bit the initial values, in a new order.
    trained = tx.reconnected_params(opt_state, params)
    for name, layer in trained.items():
        assert (jnp.sort(layer["kernel"], axis=0) == jnp.sort(initial[name]["kernel"], axis=0)).all()
    print(f"test accuracy {jnp.mean(logits(trained, test_x).argmax(axis=1) == test_y):.3f}, weights only reordered")


if __name__ == "__main__":
    main()
