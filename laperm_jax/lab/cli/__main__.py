"""Runs the command: ``python -m laperm_jax.lab.cli``."""

import sys

from laperm_jax.lab.cli import main

sys.exit(main())
