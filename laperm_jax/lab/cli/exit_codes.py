"""Exit codes of the command; docs/command_line.md lists them for users."""

DIVERGED = 1  # a loss or a weight is not finite any more
BAD_INPUT = 2  # as argparse and tyro exit
CANNOT_WRITE = 74  # EX_IOERR of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE
