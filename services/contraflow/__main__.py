"""``python -m contraflow``: the command line."""

from contraflow.cli import main

if __name__ == "__main__":
    main()
