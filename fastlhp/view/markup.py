"""HTML that is escaped in one place: text becomes markup in `escape`, and nowhere else."""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Cell", "Head", "Markup", "element", "escape", "fragment", "table"]

_VOID = {"meta", "br"}
# HTML has no way to write control characters; reversing ones would garble what stands beside them.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is markup already; every other text is escaped where it is put into markup."""

    __slots__ = ()


Content = object


def escape(content: Content) -> Markup:
    """Return a text as markup; markup as it is, and nothing for None.

    Examples
    --------
    >>> escape("a < b")
    'a &lt; b'
    """
    if isinstance(content, Markup):
        return content
    return Markup("" if content is None else html.escape(_FORBIDDEN.sub("\ufffd", str(content))))


def fragment(*contents: Content) -> Markup:
    """Return texts and markup, one after the other, as markup."""
    return Markup("".join(map(escape, contents)))


def element(name: str, /, *contents: Content, **attributes: Content) -> Markup:
    """Return an element.

    Parameters
    ----------
    name : str
        Its tag.
    *contents : str or Markup
        What stands in it; None is left out.
    **attributes : str, Markup, bool or None
        Underscores of their names become hyphens, one at the end is left out. None and False are left out,
        True has no value.

    Examples
    --------
    >>> element("td", "a < b", class_="number", data_value=3, hidden=False)
    '<td class="number" data-value="3">a &lt; b</td>'
    """
    written = []
    for key, value in attributes.items():
        shown = key.removesuffix("_").replace("_", "-")
        if value is True:
            written.append(f" {shown}")
        elif value is not None and value is not False:
            written.append(f' {shown}="{escape(value)}"')
    start = f"<{name}{''.join(written)}>"
    return Markup(start if name in _VOID else f"{start}{fragment(*contents)}</{name}>")


@dataclass(frozen=True)
class Head:
    """The head of a table's column: what it says, and whether the cells are numbers."""

    text: Content
    numeric: bool = False


@dataclass(frozen=True)
class Cell:
    """What a cell says, and the number that rows are sorted by; without one it is sorted by its text."""

    content: Content
    value: float | None = None


def table(caption: Content, heads: Sequence[Head], rows: Iterable[Sequence[Content]]) -> Markup:
    """Return a table in a box that scrolls if the table is larger than the page.

    The first column is what the rows are called. Cells are texts, markup or `Cell`.
    """
    head = element(
        "tr", *(element("th", h.text, scope="col", class_="number" if h.numeric else None) for h in heads)
    )
    body = fragment(*(element("tr", *map(_cell, row, heads, range(len(heads)))) for row in rows))
    whole = element(
        "table", element("caption", caption), element("thead", head), element("tbody", body), "\n"
    )
    # A box that scrolls must be in reach of the keyboard, and then needs a name.
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=_plain(caption))


def _cell(content: Content, head: Head, column: int) -> Markup:
    cell = content if isinstance(content, Cell) else Cell(content)
    return element(
        "td" if column else "th",
        cell.content,
        scope=None if column else "row",
        class_="number" if head.numeric else None,
        data_value=None if cell.value is None else repr(float(cell.value)),
    )


def _plain(content: Content) -> Content:
    """Return content without its tags, for an attribute."""
    return Markup(re.sub("<[^>]*>", "", content)) if isinstance(content, Markup) else content
