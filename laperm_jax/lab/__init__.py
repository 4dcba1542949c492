"""The laboratory around :mod:`laperm_jax`: data, networks and training runs of the paper. Needs the extra ``[lab]``."""
