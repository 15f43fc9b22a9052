"""`python -m service`, and the `service` script: the `service` command."""

import signal


def main() -> None:
    """Run the command, quiet about a Ctrl-C that comes while Python is still importing it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from service.cli import main  # noqa: PLC0415

    main()


if __name__ == "__main__":
    main()
