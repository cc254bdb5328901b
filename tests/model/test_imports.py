"""The model is light: it answers before a compiler or a file format would be loaded."""

import subprocess
import sys

import pytest

from fastlhp.data_files import data_path

EXAMPLE = str(data_path("example_study.toml"))
HEAVY = ("numba", "scipy", "h5py", "llvmlite", "pandas", "xarray", "matplotlib")


@pytest.mark.parametrize(
    ("code", "also"),
    [
        ("import fastlhp.cli.main", ("pydantic", "numpy")),
        ("from fastlhp.cli.main import main; main(['--help'], standalone_mode=False)", ("pydantic", "numpy")),
        (
            "from fastlhp.cli.main import main; main(['--version'], standalone_mode=False)",
            ("pydantic", "numpy"),
        ),
        (
            "from fastlhp.cli.main import main; main(['compare', '--help'], standalone_mode=False)",
            ("pydantic", "numpy"),
        ),
        ("from fastlhp.cli.main import main; main(['presets', 'baseline'], standalone_mode=False)", ()),
        (
            "from fastlhp.cli.main import main; main(['timeline', '--list'], standalone_mode=False)",
            ("pydantic",),
        ),
        (
            f"from fastlhp.cli.main import main; main(['check', {EXAMPLE!r}], standalone_mode=False)",
            (),
        ),
        (
            "from fastlhp.cli.main import main; main(['help', 'tutorial'], standalone_mode=False)",
            ("pydantic", "numpy", "rich"),
        ),
        ("from fastlhp.cli.main import main; main(['schema'], standalone_mode=False)", ()),
        (f"import fastlhp; fastlhp.load({EXAMPLE!r}).configurations[3]", ()),
    ],
)
def test_nothing_heavy_is_imported(code, also, pytestconfig):
    program = (
        f"import sys\n{code}\nprint([m for m in {(*HEAVY, *also)!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=pytestconfig.rootpath,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == "[]", done.stderr
