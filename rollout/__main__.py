"""`python -m rollout` is the command line."""

from rollout.cli.main import main

main()
