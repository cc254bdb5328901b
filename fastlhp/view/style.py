"""What all figures have in common: colours, type, heads, and files that are the same to the last byte."""

import hashlib
import io
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from os import PathLike
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from fastlhp.errors import FastlhpError
from fastlhp.results.results import MissingExtraError
from fastlhp.view.files import write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "FORMATS",
    "GREY",
    "LINES",
    "MARKERS",
    "SMALL",
    "clean",
    "drawing",
    "finished",
    "fitted",
    "matplotlib",
    "rendered",
    "save",
    "shortened",
    "svg",
    "text_width",
]

COLOURS: tuple[str, ...] = (
    "#0072B2",  # blue
    "#D55E00",  # vermillion
    "#009E73",  # bluish green
    "#E69F00",  # orange
    "#CC79A7",  # reddish purple
    "#56B4E9",  # sky blue
    "#000000",
    "#F0E442",  # yellow, the hardest to see on white
)
"""The palette of M. Okabe and K. Ito, "Color Universal Design", 2008, in the order of use."""

GREY = "#BBBBBB"
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
MARKERS: tuple[str, ...] = ("o", "s", "^", "D", "v", "P", "X", "*")
FORMATS: tuple[str, ...] = ("png", "svg", "pdf")

SMALL = 8.5
"""Points of ticks and notes."""

_TITLE, _TEXT = 11.0, 9.0
_MARGIN, _LINE = 0.12, 1.35
_POINTS = 72
# Without dates and versions, so that equal figures are equal files.
_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
_SETTINGS: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": _TEXT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": _TEXT,
    "font.size": _TEXT,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.borderaxespad": 0.0,
    "legend.borderpad": 0.0,
    "legend.columnspacing": 1.6,
    "legend.fontsize": _TEXT,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "savefig.dpi": 150,
    "svg.fonttype": "path",
    "svg.hashsalt": "fastlhp",
    # Names from study files may have dollar signs.
    "text.parse_math": False,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
}


def matplotlib() -> ModuleType:
    """Import matplotlib, without its graphical part and without changing its settings.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import matplotlib
        import matplotlib.figure
        import matplotlib.style
    except ImportError as error:
        raise MissingExtraError("figures need matplotlib; pip install 'fastlhp[report]'") from error
    return matplotlib


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the style of fastlhp, whatever the user's settings are; also a decorator."""
    module = matplotlib()
    if module.rcParams["svg.hashsalt"] == _SETTINGS["svg.hashsalt"]:
        # Already within; to set it all again takes long.
        yield
        return
    with module.style.context(["default", _SETTINGS]), warnings.catch_warnings():
        # A name in a script that the font lacks is shown as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def finished(
    made: "Figure",
    title: str,
    notes: Sequence[str] = (),
    handles: Sequence[Any] = (),
    labels: Sequence[str] = (),
    legend: str = "",
) -> "Figure":
    """Put a title and notes on top of a figure and a legend below it; the figure grows by their height.

    Parameters
    ----------
    made : matplotlib.figure.Figure
        The figure.
    title : str
        What is seen.
    notes : sequence of str, optional
        What has to be known to read it.
    handles, labels : sequence, optional
        Of the legend.
    legend : str, optional
        Title of the legend.
    """
    width, height = made.get_size_inches()
    room = width - 2 * _MARGIN
    texts = [(line, _TITLE, "black") for line in _wrapped(title, room, _TITLE)]
    texts += [(line, SMALL, "#444444") for line in _wrapped("; ".join(filter(None, notes)), room, SMALL)]
    top = _MARGIN + sum(_LINE * size / _POINTS for _, size, _ in texts)
    bottom, box = 0.0, None
    if handles:
        # A handle and the gaps around it are about six letters wide.
        widest = max(text_width(label) for label in labels) + 6 * _TEXT / _POINTS
        columns = max(1, min(int(room // widest), len(labels)))
        box = made.legend(
            handles, labels, loc="lower left", ncols=columns, title=legend or None, alignment="left"
        )
        bottom = box.get_window_extent().height / made.dpi + _MARGIN
    whole = top + height + bottom
    made.set_size_inches(width, whole)
    if box is not None:
        box.set_bbox_to_anchor((_MARGIN / width, _MARGIN / whole))
    y = whole - _MARGIN
    for line, size, colour in texts:
        made.text(_MARGIN / width, y / whole, line, size=size, color=colour, va="top", ha="left")
        y -= _LINE * size / _POINTS
    made.set_layout_engine(
        "constrained",
        rect=(0, bottom / whole, 1, height / whole),
        w_pad=0.08,
        h_pad=0.08,
        wspace=0.03,
        hspace=0.05,
    )
    return made


@cache
@drawing()
def text_width(text: str, size: float = _TEXT) -> float:
    """Return how wide a line is, in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return float(width) / _POINTS


def fitted(text: str, room: float, size: float = _TEXT) -> str:
    """Leave out the middle of a text that is wider than so many inches."""
    text = clean(text)
    wide = text_width(text, size)
    return text if wide <= room else shortened(text, max(8, int(len(text) * room / wide) - 2))


def _wrapped(text: str, room: float, size: float) -> list[str]:
    """Break a text into lines that are not wider than `room`."""
    lines: list[str] = []
    for word in clean(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= room:
            lines[-1] = longer
        else:
            # A word wider than the figure is cut into pieces.
            most = max(1, int(len(word) * min(1.0, room / text_width(word, size))))
            lines += [word[i : i + most] for i in range(0, len(word), most)]
    return lines


def clean(text: str) -> str:
    """Return a text without what cannot be drawn: line breaks and control characters."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(text.split()))


def shortened(text: str, most: int = 40) -> str:
    """Leave out the middle of a text that is longer than `most` letters.

    Examples
    --------
    >>> shortened("directed_yield(spin_threshold=25us)", 21)
    'directed_y…shold=25us)'
    """
    text = clean(text)
    return text if len(text) <= most + 1 else f"{text[: most // 2]}…{text[len(text) - (most + 1) // 2 :]}"


@drawing()
def rendered(made: "Figure", kind: str, *, text: Literal["path", "none"] = "path") -> bytes:
    """Return a figure as a file of a format, which is one of `FORMATS`; the same bytes every time.

    With the `text` "none", an SVG has text in a font of the reader's instead of shapes, and is smaller.
    """
    out = io.BytesIO()
    engine = made.get_layout_engine()
    if engine is not None:
        engine.execute(made)
    # With an engine, matplotlib goes through all drawing once more than is needed.
    made.set_layout_engine(None)
    try:
        with matplotlib().rc_context({"svg.fonttype": text}):
            made.savefig(out, format=kind, metadata=_METADATA[kind])
    finally:
        made.set_layout_engine(engine)
    return _with_numbered_clips(out.getvalue()) if kind == "svg" else out.getvalue()


def _with_numbered_clips(picture: bytes) -> bytes:
    """Name clip paths by numbers: matplotlib's names hang on digits that the layout's solver leaves to chance."""
    names: dict[bytes, bytes] = {}

    def name(match: re.Match[bytes]) -> bytes:
        return match[1] + names.setdefault(match[2], b"clip_%d" % len(names))

    return re.sub(rb'(url\(#|<clipPath id=")(p[0-9a-f]{10})\b', name, picture)


def svg(made: "Figure") -> str:
    """Return a figure as an SVG element that can stand in a page beside others."""
    text = rendered(made, "svg").decode()
    text = text[text.index("<svg") :]
    # Names within a page must differ.
    own = hashlib.sha256(text.encode()).hexdigest()[:8]
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>f{own}-", text)


def save(made: "Figure", path: str | PathLike[str], force: bool = False) -> None:
    """Write a figure to a file, as a whole or not at all.

    Parameters
    ----------
    made : matplotlib.figure.Figure
        The figure.
    path : path-like
        The file, which ends in ``.png``, ``.svg`` or ``.pdf``.
    force : bool, optional
        Overwrite an existing file.

    Raises
    ------
    FastlhpError
        If the name has another end, the file exists and `force` is not given, or it cannot be written.
    """
    path = os.fspath(path)
    kind = os.path.splitext(path)[1].removeprefix(".").lower()
    if kind not in FORMATS:
        raise FastlhpError(f"{path} must end in .png, .svg or .pdf")
    write(rendered(made, kind), path, force)
