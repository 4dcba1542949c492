"""LaPerm with Flax NNX: attention, a convolution, BatchNorm and `nnx.Optimizer` on scikit-learn's digits."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from laperm_jax import flax_fan_in, laperm

STEPS = 300


class Model(nnx.Module):
    """Sixteen patches of a digit attend to each other."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(1, 32, (2, 2), strides=(2, 2), rngs=rngs)
        self.norm = nnx.BatchNorm(32, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(4, 32, decode=False, rngs=rngs)
        self.dense = nnx.Linear(16 * 32, 10, rngs=rngs)

    def __call__(self, images):
        patches = nnx.relu(self.norm(self.conv(images))).reshape(len(images), 16, 32)
        patches += self.attention(patches)
        return self.dense(patches.reshape(len(images), -1))


def main():
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = map(
        jnp.asarray, train_test_split(images.reshape(-1, 8, 8, 1) / 16, labels, random_state=0)
    )
    model = Model(nnx.Rngs(0))
    # Flax's names tell kernels from biases and embeddings, and the attention kernels' heads from their fan-in.
    tx = laperm(optax.adam(optax.cosine_decay_schedule(3e-3, STEPS)), sync_period=20, fan_in_axes=flax_fan_in)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, key):
        batch = jax.random.choice(key, len(train_x), (256,))

        def loss(model):
            logits = model(train_x[batch])
            return optax.softmax_cross_entropy_with_integer_labels(logits, train_y[batch]).mean()

        optimizer.update(model, nnx.grad(loss)(model))

    for key in jax.random.split(jax.random.key(1), STEPS):
        step(model, optimizer, key)

    # The exact permutation goes back into the model before it is evaluated.
    nnx.update(model, tx.reconnected_params(optimizer, nnx.state(model, nnx.Param)))
    evaluation = nnx.with_attributes(model, use_running_average=True, raise_if_not_found=False)
    accuracy = jnp.mean(nnx.jit(lambda model, images: model(images))(evaluation, test_x).argmax(axis=1) == test_y)
    print(f"test accuracy {accuracy:.3f}, every kernel only reordered")


if __name__ == "__main__":
    main()
