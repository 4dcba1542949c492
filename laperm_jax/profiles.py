"""Weight profiles: the sorted weight vectors of a layer, and a number for how similar they are."""

import numpy as np


def profile_similarity(vectors: np.ndarray) -> float:
    r"""Measures the similarity of weight profiles (SoWP; Qiu & Suda, 2020, section 2) in one layer.

    Each vector is centred and sorted; :math:`s_j` are the results, :math:`m` is their mean, and each is compared with
    :math:`m` times a scale of its own. The number is the share of the variance that this explains:

    .. math:: 1 - \frac{\sum_j \min_a \lVert s_j - a m \rVert^2}{\sum_j \lVert s_j \rVert^2}

    It is 1 where all profiles have one shape. Any i.i.d. vectors come close to it, the closer the longer they are: so
    compare it with that of i.i.d. normal vectors of the same number and length.

    Args:
      vectors: the weight vectors of a layer, ``(vectors, fan_in)``.

    Returns:
      A number from 0 to 1; 1 where every vector is constant.

    Example:
      >>> import numpy as np
      >>> from laperm_jax.profiles import profile_similarity
      >>> profile_similarity(np.array([[3.0, 1.0, 2.0], [10.0, 20.0, 30.0]]))
      1.0
      >>> round(profile_similarity(np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])), 2)
      0.75
    """
    profiles = np.sort(vectors.astype(np.float64), axis=1)
    profiles -= profiles.mean(axis=1, keepdims=True)
    total = np.sum(profiles**2)
    mean = profiles.mean(axis=0)
    if total == 0 or not mean.any():
        return 1.0 if total == 0 else 0.0
    return float(np.sum((profiles @ mean) ** 2) / np.sum(mean**2) / total)
