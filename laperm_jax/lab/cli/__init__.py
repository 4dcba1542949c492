"""The command ``laperm``."""

from laperm_jax.lab.cli.app import main as main
