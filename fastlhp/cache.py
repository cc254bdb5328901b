"""Where fastlhp keeps what it need not make or measure twice: compiled kernels, the speed of the machine."""

import os
import sys
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return the folder of fastlhp's caches; it need not exist.

    ``FASTLHP_CACHE_DIR`` if set, else ``fastlhp`` in the user's cache folder of the platform.
    """
    own = os.environ.get("FASTLHP_CACHE_DIR")
    if own:
        return Path(own)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME")
    return Path(os.path.expanduser(base or "~/.cache")) / "fastlhp"
