"""``fastlhp bench`` at length: 5 rounds of about a second instead of 2 of 0.3 s. Options given override these."""

import sys

from fastlhp.cli.main import main

if __name__ == "__main__":
    main(["bench", "--rounds", "5", "--seconds", "1", *sys.argv[1:]])
