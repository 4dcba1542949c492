"""Some parameters frozen, some left to Adam, the rest reordered."""

import jax
import jax.numpy as jnp
import optax

from laperm_jax import laperm, path_fan_in, tabulate

STEPS = 100


def main():
    x, y = jax.random.normal(jax.random.key(0), (2, 256, 32))
    keys = jax.random.split(jax.random.key(1), 3)
    params = initial = {
        name: {"kernel": jax.random.normal(key, (32, 32)) / 6}
        for name, key in zip(("stem", "body", "head"), keys, strict=True)
    }

    def loss(params):
        hidden = jnp.tanh(x @ params["stem"]["kernel"])
        return jnp.mean((jnp.tanh(hidden @ params["body"]["kernel"]) @ params["head"]["kernel"] - y) ** 2)

    rule = path_fan_in({r"^body/kernel$": (0,)})  # only the body is reordered
    frozen = {name: {"kernel": name == "stem"} for name in params}
    inner = optax.transforms.selective_transform(optax.adam(1e-2), freeze_mask=frozen)
    tx = laperm(inner, sync_period=20, fan_in_axes=rule)
    print(tabulate(params, rule))
    opt_state = tx.init(params)

    @jax.jit
    def step(params, opt_state):
        updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    for _ in range(STEPS):
        params, opt_state = step(params, opt_state)

    exact = tx.reconnected_params(opt_state, params)
    kernels = {name: (initial[name]["kernel"], exact[name]["kernel"]) for name in params}
    same_values = {name: bool((jnp.sort(a, 0) == jnp.sort(b, 0)).all()) for name, (a, b) in kernels.items()}
    assert (kernels["stem"][0] == kernels["stem"][1]).all()  # frozen
    assert same_values["body"]  # reordered
    assert not same_values["head"]  # trained by Adam
    print(f"loss {loss(initial):.3f} -> {loss(exact):.3f}")


if __name__ == "__main__":
    main()
