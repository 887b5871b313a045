"""`python -m punchstream`: the command, where its script is not on the path."""

from punchstream.cli import main

main()
