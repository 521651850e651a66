"""``python -m cytopipe``: the command line, where no `cytopipe` script is on the PATH."""

from cytopipe.cli import main

main()
