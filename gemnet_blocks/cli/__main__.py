"""`python -m gemnet_blocks.cli`, for launchers that start Python."""

from gemnet_blocks.cli import main

if __name__ == "__main__":
    main()
