"""The parts of the documentation that follow from the code: the policy catalogue, and the keys of study files.

``python -m fastlhp.reference`` puts them into the pages; a test tells when that is due. The pictures of the catalogue
are drawn by ``python -m fastlhp.pictures``.
"""

import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from pydantic.fields import FieldInfo

from fastlhp.model.described import field_texts
from fastlhp.model.design import Design
from fastlhp.model.distributions import DISTRIBUTION_HELP, TABLE_FORMS
from fastlhp.model.host import HostForm
from fastlhp.model.plan import StudyForm
from fastlhp.model.policy import PolicyParameters
from fastlhp.model.presets import preset, preset_names
from fastlhp.model.profiles import profile, profile_names
from fastlhp.model.units import DURATION_HELP
from fastlhp.model.validation import Form, accepted_by, show
from fastlhp.model.vm import HaltForm, VmForm
from fastlhp.pictures import CAPTIONS, picture_name
from fastlhp.policies import FAMILIES, kinds
from fastlhp.policies.compatibility import rows

__all__ = ["DOCS", "PARTS", "updated"]

DOCS = Path(__file__).resolve().parent / "docs"

_FAMILIES = {
    "scheduler": ("Schedulers", "who runs, and for how long"),
    "guard": ("Guards", "what happens at a slice end"),
    "response": ("Responses", "what a vCPU does that has spun for a while"),
    "lock": ("Locks", "who gets the lock, and how the others wait"),
}


def catalogue(family: str) -> str:
    """Return what is known of the policies of a family: what they do, their parameters, where they are from."""
    title, what = _FAMILIES[family]
    policies = "\n".join(_policy(cls) for cls in kinds(family).values())
    return f"## {title}: {what}\n\n{policies}"


def _policy(cls: type[PolicyParameters]) -> str:
    text, _, references = (sys.modules[cls.__module__].__doc__ or "").partition("\nReferences\n----------\n")
    title, _, body = text.strip().partition("\n\n")
    lines = [f"### {cls.KIND}", "", _wrapped(f"**{title.rstrip('.')}.** {_markdown(body)}"), ""]
    caption = CAPTIONS.get(f"{cls.FAMILY} {cls.KIND}")
    if caption:
        picture = f"pictures/{picture_name(cls.FAMILY, cls.KIND)}"
        lines += [
            f"![A timeline under {cls.KIND}]({picture})",
            "",
            _wrapped(f"In the picture: {caption}."),
            "",
        ]
    parameters = [
        (f"`{name}`", _default(name, field), text, _accepted(field))
        for name, field, text in _fields(cls)
        if cls.FAMILY != "lock" or name not in ("count", "weights")
    ]
    if parameters:
        lines += [*_rows(("parameter", "default", "meaning", "accepted"), parameters), ""]
    found = re.findall(r"^\.\. \[(\d+)\] (.*(?:\n   .*)*)", references, re.MULTILINE)
    if found:
        lines += [*(_wrapped(f"- [{number}] {_markdown(entry)}", "  ") for number, entry in found), ""]
    return "\n".join(lines)


def _markdown(text: str) -> str:
    """Return the text of a docstring as Markdown, each paragraph in one line."""
    text = re.sub(r"(\[\d+\])_", r"\1", text.replace("``", "`"))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _wrapped(text: str, indent: str = "") -> str:
    paragraphs = (
        textwrap.fill(each, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        for each in text.split("\n\n")
    )
    return "\n\n".join(paragraphs)


def _fields(form: type[Form]) -> Iterator[tuple[str, FieldInfo, str]]:
    texts = field_texts(form)
    yield from ((name, field, texts.get(name, "")) for name, field in form.model_fields.items())


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        # What a table does not say of these, its place and the preset do.
        return "" if name in ("name", "lock") else "needed"
    return "" if field.default in (None, ()) else f"`{show(field.default)}`"


def _accepted(field: FieldInfo) -> str:
    text = accepted_by(field)
    return {DISTRIBUTION_HELP: "any time", DURATION_HELP: "a fixed time"}.get(text, text)


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
        for row in (head, ["---"] * len(head), *rows)
    ]


def together() -> str:
    """Return what does not go together."""
    table = [(f"`{refusing}`", refused, reason) for refusing, refused, reason in rows()]
    return "\n".join(_rows(("policy", "does not go with", "because"), table))


def presets() -> str:
    """Return the presets: what they are, and what they set."""
    return "\n".join(_rows(("preset", "system", "policies"), map(_preset, preset_names())))


def _preset(name: str) -> tuple[str, str, str]:
    tree = preset(name)
    policy, lock = tree["policy"], tree["lock"]
    assert isinstance(policy, dict)
    tables = [*(policy[family] for family in ("scheduler", "guard", "response")), lock]
    return f"`{name}`", str(tree["description"]), "; ".join(map(_in_words, tables))


def _in_words(table: dict[str, object]) -> str:
    parameters = ", ".join(f"{key} {value}" for key, value in table.items() if key != "kind")
    return f"`{table['kind']}`" + (f" ({parameters})" if parameters else "")


def profiles() -> str:
    """Return the profiles."""
    found = ((f"`{name}`", str(profile(name)["description"])) for name in profile_names())
    return "\n".join(_rows(("profile", "lock"), found))


def keys(form: type[Form]) -> str:
    """Return the keys of a table of a study."""
    return "\n".join(
        _rows(
            ("key", "default", "meaning", "accepted"),
            (
                (f"`{name}`", _default(name, field), text, _accepted(field))
                for name, field, text in _fields(form)
            ),
        )
    )


def distributions() -> str:
    """Return the distributions that need a table of their own."""
    found = [
        (f"`{kind}`", "; ".join(f"`{name}`: {text.rstrip('.')}" for name, _, text in _fields(form)))
        for kind, form in TABLE_FORMS.items()
    ]
    return "\n".join(_rows(("distribution", "keys"), found))


_FORMS: dict[str, type[Form]] = {
    "study": StudyForm,
    "design": Design,
    "host": HostForm,
    "vm": VmForm,
    "halt": HaltForm,
}
PARTS: dict[str, Callable[[], str]] = {
    **{f"catalogue {family}": partial(catalogue, family) for family in FAMILIES},
    "together": together,
    "presets": presets,
    "profiles": profiles,
    "distributions": distributions,
    **{f"keys {name}": partial(keys, form) for name, form in _FORMS.items()},
}
"""What the pages ask for, between ``<!-- NAME -->`` and ``<!-- end -->``."""


def updated(page: str) -> str:
    """Return a page with its parts as they should be."""

    def part(match: re.Match[str]) -> str:
        return f"<!-- {match[1]} -->\n\n{PARTS[match[1]]().strip()}\n\n<!-- end -->"

    names = "|".join(map(re.escape, PARTS))
    return re.sub(rf"<!-- ({names}) -->\n.*?<!-- end -->", part, page, flags=re.DOTALL)


if __name__ == "__main__":
    for path in DOCS.glob("*.md"):
        path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")
