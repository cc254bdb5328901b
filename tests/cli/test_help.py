"""``fastlhp help``."""

import builtins
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import fastlhp
from fastlhp.cli.help import _rendered, topics
from fastlhp.cli.main import main

DOCS = Path(fastlhp.__file__).parent / "docs"
PAGES = sorted(path.stem for path in DOCS.glob("*.md"))


def test_the_list():
    said = CliRunner().invoke(main, ["help"])
    assert said.exit_code == 0
    listed = dict(line.split(maxsplit=1) for line in said.stdout.splitlines()[1:])
    assert listed == topics()
    assert sorted(listed) == [page for page in PAGES if page != "index"]
    # In the order of the index, which says what to read first.
    assert next(iter(listed)) == "tutorial"


@pytest.mark.parametrize("name", PAGES)
def test_every_page(name):
    if name == "index":
        return
    said = CliRunner().invoke(main, ["help", name])
    assert said.exit_code == 0
    assert said.stdout == (DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert CliRunner().invoke(main, ["help", f"{name}.md"]).stdout == said.stdout


def test_typos():
    said = CliRunner().invoke(main, ["help", "tutorail"])
    assert said.exit_code == 2 and "did you mean tutorial?" in said.stderr
    said = CliRunner().invoke(main, ["help", "xyz"])
    assert said.exit_code == 2 and "choose from: tutorial, " in said.stderr


def test_rendered():
    pytest.importorskip("rich")
    text = _rendered(
        "# Title\n\n<!-- hidden -->\nSee [it](files.md#a).\n\n| a | b |\n|---|---|\n| `x` | y |\n"
    )
    assert "Title" in text and "hidden" not in text and "|---|" not in text
    assert "files.md" not in text
    text = _rendered("![What it is](pictures/guard-delay.svg)\n")
    assert "What it is:" in text
    assert str(DOCS / "pictures" / "guard-delay.svg") in text.replace("\n", "")
    assert re.search("\x1b\\[", text)


def test_without_rich(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("rich"):
            raise ImportError(name)
        return real(name, *rest)

    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    assert _rendered("# Title\n") == "# Title\n"
