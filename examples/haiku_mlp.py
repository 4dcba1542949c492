"""LaPerm with Haiku: kernels are called `w`, output axis last, so the default rule fits. scikit-learn's digits."""

import haiku as hk
import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from laperm_jax import laperm

STEPS = 400


def main():
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = map(jnp.asarray, train_test_split(images / 16, labels, random_state=0))
    # Reordering cannot make weights larger, and Haiku's own are small.
    he_uniform = hk.initializers.VarianceScaling(2.0, "fan_in", "uniform")
    model = hk.without_apply_rng(hk.transform(lambda images: hk.nets.MLP([128, 10], he_uniform)(images)))
    params = initial = model.init(jax.random.key(0), train_x)

    tx = laperm(optax.adam(optax.cosine_decay_schedule(5e-3, STEPS)), sync_period=25)
    opt_state = tx.init(params)

    @jax.jit
    def step(params, opt_state):
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        loss = lambda params: cross_entropy(model.apply(params, train_x), train_y).mean()
        updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    for _ in range(STEPS):
        params, opt_state = step(params, opt_state)

    trained = tx.reconnected_params(opt_state, params)
    for name, layer in trained.items():
        assert (jnp.sort(layer["w"], axis=0) == jnp.sort(initial[name]["w"], axis=0)).all()
    accuracy = jnp.mean(model.apply(trained, test_x).argmax(axis=1) == test_y)
    print(f"test accuracy {accuracy:.3f}, weights only reordered")


if __name__ == "__main__":
    main()
