"""Run the command line as `python -m raven`."""

from raven.cli.main import main

if __name__ == "__main__":
    main()
