"""``python -m fastlhp``: the same as the command ``fastlhp``."""

from fastlhp.cli.main import main

if __name__ == "__main__":
    main(prog_name="fastlhp")
