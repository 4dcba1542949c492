"""Experiments that go past the paper."""

from laperm_jax.lab.experiments.catalogue.beyond.few_values import BITS, BITS_LANGUAGE, FEEDBACK
from laperm_jax.lab.experiments.catalogue.beyond.functions import APPROXIMATION
from laperm_jax.lab.experiments.catalogue.beyond.language import LANGUAGE
from laperm_jax.lab.experiments.catalogue.beyond.language_kinds import LANGUAGE_KINDS
from laperm_jax.lab.experiments.catalogue.beyond.language_settings import LANGUAGE_SETTINGS
from laperm_jax.lab.experiments.catalogue.beyond.scale import LARGE, SCALE
from laperm_jax.lab.experiments.catalogue.beyond.transfer import TRANSFER
from laperm_jax.lab.experiments.catalogue.beyond.vision import VISION

BEYOND_EXPERIMENTS = (
    BITS,
    BITS_LANGUAGE,
    FEEDBACK,
    LANGUAGE,
    LANGUAGE_SETTINGS,
    LANGUAGE_KINDS,
    VISION,
    SCALE,
    LARGE,
    APPROXIMATION,
    TRANSFER,
)

__all__ = ["BEYOND_EXPERIMENTS"]
