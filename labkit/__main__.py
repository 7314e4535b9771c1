"""The ``labkit`` command, and ``python -m labkit``: through a zygote where there is one."""

import sys


def main() -> None:
    """Run the command line."""
    from labkit.kernels import client

    client.forwarded(sys.argv[1:])
    from labkit import cli

    try:
        cli.main()
    finally:
        client.begin_for_next_time(sys.argv[1:])


if __name__ == "__main__":
    main()
