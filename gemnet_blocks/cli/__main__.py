"""`python -m gemnet_blocks.cli`, for launchers that start Python themselves."""

from gemnet_blocks.cli import main

if __name__ == "__main__":
    main()
