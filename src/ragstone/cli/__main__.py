"""`python -m ragstone.cli`."""

from ragstone.cli.main import main

main()
