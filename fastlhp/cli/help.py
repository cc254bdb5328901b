"""``fastlhp help``: the pages of the documentation, in the terminal."""

import difflib
import re
import shutil
import sys
from pathlib import Path

import click

import fastlhp

__all__ = ["command", "topics"]

_WIDEST = 120


@click.command()
@click.argument("topic", required=False)
def command(topic: str | None) -> None:
    """Show a page of the documentation, or without TOPIC what pages there are.

    On a terminal it is paged, and set by rich if that is installed: pip install 'fastlhp[help]'.
    """
    known = topics()
    if topic is None:
        width = max(map(len, known))
        lines = (f"{name:{width}}  {about}".rstrip() for name, about in known.items())
        click.echo("\n".join(["Pages (fastlhp help TOPIC):", *lines]))
        return
    name = topic.lower().removesuffix(".md")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        what = f"did you mean {' or '.join(near)}?" if near else f"choose from: {', '.join(known)}"
        raise click.UsageError(f"no page {topic!r}; {what}")
    page = _path(name).read_text(encoding="utf-8")
    if sys.stdout.isatty():
        click.echo_via_pager(_rendered(page), color=True)
    else:
        click.echo(page, nl=False)


def topics() -> dict[str, str]:
    """Return the pages and what each is about: those of the index in its order, then any others."""
    index = _path("index").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^- \[([\w-]+)\]\(\1\.md\): (.+)$", index, re.MULTILINE))
    others = sorted(path.stem for path in _path("index").parent.glob("*.md") if path.stem not in listed)
    return {**listed, **{name: _title(name) for name in others if name != "index"}}


def _path(name: str) -> Path:
    return Path(fastlhp.__file__).parent / "docs" / f"{name}.md"


def _title(name: str) -> str:
    return _path(name).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _rendered(page: str) -> str:
    """Return a page as a terminal shows it best; the Markdown as it is without rich."""
    try:
        from rich.console import Console
        from rich.markdown import Markdown
        from rich.theme import Theme
    except ImportError:
        return page
    text = re.sub(r"<!--.*?-->\n?", "", page, flags=re.DOTALL)
    folder = _path("index").parent
    text = re.sub(r"!\[([^\]]*)\]\(([^)]*)\)", lambda match: f"*{match[1]}:* {folder / match[2]}", text)
    # Links to other pages lead nowhere in a terminal.
    text = re.sub(r"\[([^\]]+)\]\([\w-]+\.md[^)]*\)", r"*\1*", text)
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    # Readable on light and dark terminals alike.
    theme = Theme({"markdown.code": "bold cyan"})
    console = Console(width=width, force_terminal=True, highlight=False, theme=theme)
    with console.capture() as capture:
        console.print(Markdown(text, code_theme="bw", hyperlinks=False))
    rendered: str = capture.get()
    return rendered
