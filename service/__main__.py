"""`python -m service` is the `service` command."""

from service.cli import main

main()
