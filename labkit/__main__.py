"""The ``labkit`` command, and ``python -m labkit``: through a zygote where there is one."""

import sys


def main() -> None:
    """Run the command line."""
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


if __name__ == "__main__":
    main()
