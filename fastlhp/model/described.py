"""What the docstring of a class says about its fields."""

import inspect
import re

__all__ = ["field_texts"]

# "name : type", or several names without one, at the beginning of a line; what it means is indented.
_ENTRY = re.compile(r"^(\w+(?:, \w+)*)(?: : [^\n]*)?\n((?:    [^\n]*\n?)+)", re.MULTILINE)


def field_texts(cls: type) -> dict[str, str]:
    """Return what the section "Attributes" of a class's docstring says, by field; nothing if there is none.

    Examples
    --------
    >>> from fastlhp.policies import kinds
    >>> field_texts(kinds("guard")["delay"])["cap"]
    'Longest delay; 0 is no delay at all.'
    """
    _, _, section = inspect.cleandoc(cls.__doc__ or "").partition("\nAttributes\n----------\n")
    texts = {}
    for names, text in _ENTRY.findall(section):
        for name in names.split(", "):
            texts[name] = " ".join(text.split()).replace("``", "`")
    return texts
