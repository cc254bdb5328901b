"""Pages of the documentation that follow from the code."""

import pytest

from fastlhp.policies import FAMILIES, kinds
from fastlhp.reference import DOCS, PARTS, updated

PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_up_to_date(name):
    assert updated(PAGES[name]) == PAGES[name], "python -m fastlhp.reference puts it in order"


def test_every_part_is_on_a_page():
    text = "".join(PAGES.values())
    assert {name: text.count(f"<!-- {name} -->\n") for name in PARTS} == dict.fromkeys(PARTS, 1)
    assert text.count("<!-- end -->") == len(PARTS)


def test_the_catalogue_is_complete():
    text = PAGES["catalogue"]
    for family in FAMILIES:
        for kind, cls in kinds(family).items():
            assert f"\n### {kind}\n" in text
            for name in cls.model_fields:
                assert f"`{name}`" in text, (kind, name)
