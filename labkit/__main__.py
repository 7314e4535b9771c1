"""The ``labkit`` command, and ``python -m labkit``: through a zygote where there is one."""

import os
import sys


def main() -> None:
    """Run the command line."""
    _have_streams()
    from labkit.kernels import client

    client.forwarded(sys.argv[1:])
    from labkit import cli
    from labkit.kernels import forks

    def command() -> None:
        try:
            cli.main()
        finally:
            client.begin_for_next_time(sys.argv[1:])

    forks.leave(command)


def _have_streams() -> None:
    """Put the null device where a standard stream was closed, lest the next file or socket take its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115  for life


if __name__ == "__main__":
    main()
