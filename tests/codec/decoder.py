"""A decoder of packed networks in plain Python, written from docs/format.md; shares no code with the library's."""

import json
import struct
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from laperm_jax import initializers

HALF, WHOLE = 2**32, 2**24


class Stream:
    def __init__(self, content):
        self.words = list(struct.unpack(f"<{len(content) // 4}I", content))
        self.state = 0
        self.fill()

    def fill(self):
        while self.words and self.state < HALF:
            self.state = self.state * HALF + self.words.pop()

    def take(self, find):
        quantile = self.state % WHOLE
        symbol, left, right = find(quantile)
        self.state = self.state // WHOLE * (right - left) + quantile - left
        if self.state < HALF and self.words:
            self.state = self.state * HALF + self.words.pop()
        return symbol

    def digit(self, size):
        def find(quantile):
            digit = min(quantile // (WHOLE // size), size - 1)
            return digit, *share(digit, size)

        return self.take(find)

    def put_back(self, digit, size):
        left, right = share(digit, size)
        if self.state >= (right - left) << 40:
            self.words.append(self.state % HALF)
            self.state //= HALF
        self.state = self.state // (right - left) * WHOLE + left + self.state % (right - left)

    def bit(self, p):
        middle = 1 + int((1 - p) * (WHOLE - 2))
        return self.take(lambda quantile: (1, middle, WHOLE) if quantile >= middle else (0, 0, middle))


def share(digit, size):
    """The quantiles of a digit."""
    width = WHOLE // size
    return digit * width, WHOLE if digit == size - 1 else (digit + 1) * width


def order(bits, size):
    sign = 1 << (8 * size - 1)
    return sign | bits if not bits & sign else ~bits & (2 * sign - 1)


class Odds:
    """The counts of a round."""

    def __init__(self, lags):
        self.lags, self.total, self.seen = lags, [1.0, 1.0], {}

    def context(self, bits):
        return tuple(bits[-lag] if lag <= len(bits) else 0 for lag in self.lags)

    def p(self, ones, zeros, context):
        usual = [2 * total / (self.total[0] + self.total[1]) for total in self.total]
        seen = self.seen.get(context, [0.0, 0.0])
        for_one = ones * (seen[1] + usual[1]) * self.total[0]
        for_zero = zeros * (seen[0] + usual[0]) * self.total[1]
        return for_one / (for_one + for_zero)

    def add(self, context, bit):
        self.total[bit] += 1
        self.seen.setdefault(context, [0.0, 0.0])[bit] += 1


def decode_permutations(stream, lags, columns, bits_back=False):
    """Ranks of each vector, from the bit patterns of the columns."""
    vectors = len(columns)
    free = [list(range(len(column))) for column in columns]
    ungiven = [list(range(len(column))) for column in columns]
    ranks = [[None] * len(column) for column in columns]
    frequent = []
    for column in columns:
        times = {bits: column.count(bits) for bits in dict.fromkeys(column)}
        frequent.append(
            [(column.index(bits), t) for bits, t in times.items() if t >= 2 and 64 * t >= len(column)][::-1]
        )
    for turn in range(max(map(len, frequent), default=0)):
        those = [j for j in range(vectors) if turn < len(frequent[j])]
        bits, odds = {j: [] for j in those}, Odds(lags)
        for i in range(max(len(free[j]) for j in those)):
            read = []
            for j in those:
                if i < len(free[j]):
                    ones = frequent[j][turn][1] - sum(bits[j])
                    context = odds.context(bits[j])
                    bits[j].append(stream.bit(odds.p(ones, len(free[j]) - i - ones, context)))
                    read.append((context, bits[j][-1]))
            for context, bit in read:
                odds.add(context, bit)
        for j in those:
            first, times = frequent[j][turn]
            given = [position for position, bit in zip(free[j], bits[j], strict=True) if bit]
            for rank, position in enumerate(given, first):
                ranks[j][position] = rank
            free[j] = [position for position, bit in zip(free[j], bits[j], strict=True) if not bit]
            ungiven[j] = [rank for rank in ungiven[j] if not first <= rank < first + times]
    digits = [[] for _ in columns]
    for i in range(max(map(len, free), default=0)):
        those = [j for j in range(vectors) if i < len(free[j])]
        if bits_back:
            returned = []
            for j in those:
                size = len(free[j]) - i
                values = [columns[j][rank] for rank in ungiven[j]]
                digit = stream.digit(size) if size >= 2 else 0
                first, equal = values.index(values[digit]), values.count(values[digit])
                returned.append((digit - first, equal))
                ranks[j][free[j][i]] = ungiven[j].pop(first)
            for digit, equal in reversed(returned):
                if equal >= 2:
                    stream.put_back(digit, equal)
            continue
        for j in those:
            if len(free[j]) - i >= 2:
                digits[j].append(stream.digit(len(free[j]) - i))
    if bits_back:
        return ranks
    for j in range(vectors):
        for i, digit in enumerate(digits[j]):
            ungiven[j][i], ungiven[j][i + digit] = ungiven[j][i + digit], ungiven[j][i]
        for position, rank in zip(free[j], ungiven[j], strict=True):
            ranks[j][position] = rank
    return ranks


def draw(recipe, shape, dtype):
    drawn = recipe.get("shape") or shape

    def values(key):
        initializer = getattr(jax.nn.initializers, recipe["initializer"], None) or getattr(
            initializers, recipe["initializer"]
        )
        initializer = initializer(*(tuple(arg) if isinstance(arg, list) else arg for arg in recipe["args"]))
        if recipe["keep"] == 1:
            return initializer(key, drawn, dtype)
        first, second = jax.random.split(key)
        weights = initializer(first, drawn, dtype)
        if recipe.get("rescale"):
            weights = weights * recipe["keep"] ** -0.5
        return jnp.where(jax.random.bernoulli(second, recipe["keep"], drawn), weights, 0)

    key = jax.random.wrap_key_data(jnp.array(recipe["key"], jnp.uint32), impl=recipe["impl"])
    return np.asarray(jax.jit(values)(key)).reshape(shape)


def read(file):
    """The header of a packed network, and what comes after it."""
    assert file[:8] == b"\x93LAPERM\x01"
    (length,) = struct.unpack("<Q", file[40:48])
    return json.loads(zlib.decompress(file[48 : 48 + length])), file[48 + length :]


def decode(file):
    """The arrays of a packed network, by path."""
    header, contents = read(file)
    weights = {}
    for tensor in header["tensors"]:
        first, contents = contents[: tensor["values_bytes"]], contents[tensor["values_bytes"] :]
        second, contents = contents[: tensor["bytes"]], contents[tensor["bytes"] :]
        dtype, shape = jnp.dtype(tensor["dtype"]), tensor["shape"]
        if "recipe" not in tensor:
            weights[tensor["path"]] = np.frombuffer(second, dtype).reshape(shape)
            continue
        axes = tensor["axes"]
        turned = [*axes, *(axis for axis in range(len(shape)) if axis not in axes)]
        rows = int(np.prod([shape[axis] for axis in axes], dtype=int))
        bits = f"u{dtype.itemsize}"
        if first:
            columns = np.frombuffer(first, bits).reshape(rows, -1).T.tolist()
        else:
            drawn = draw(tensor["recipe"], shape, dtype).view(bits).transpose(turned)
            columns = drawn.reshape(rows, drawn.size // max(rows, 1)).T.tolist()
            columns = [sorted(column, key=lambda bits: order(bits, dtype.itemsize)) for column in columns]
        ranks = decode_permutations(Stream(second), tensor["lags"], columns, tensor.get("bits_back", False))
        vectors = [[column[rank] for rank in of_vector] for column, of_vector in zip(columns, ranks, strict=True)]
        placed = np.array(vectors, bits).T.reshape([shape[axis] for axis in turned]).transpose(np.argsort(turned))
        weights[tensor["path"]] = placed.view(dtype)
    return weights
