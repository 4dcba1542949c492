"""The two errors that the lab reports as one sentence on the command line."""


class ConfigError(ValueError):
    """Settings that cannot be run; the message names the value and says what is allowed."""


class OutputError(Exception):
    """Files that cannot be written; the message says where, why, and what is kept."""
