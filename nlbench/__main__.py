"""`python -m nlbench` is the command line."""

from nlbench.cli import main

main()
