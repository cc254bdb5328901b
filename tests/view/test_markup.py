from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlhp.view.markup import Cell, Head, Markup, element, escape, fragment, table


class Reader(HTMLParser):
    """Collects tags with their attributes, and texts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)


@given(st.text(st.characters(exclude_categories=["C"])))
def test_any_text_stays_text(text):
    read = Reader(element("p", text, title=text))
    assert read.tags == [("p", {"title": text})]
    assert "".join(read.texts) == text


@pytest.mark.parametrize("character", ["\0", "\x1b", "\u202e", "\u2066", "\ud800"])
def test_no_control_characters(character):
    assert escape(f"a{character}b") == "a\ufffdb"


def test_markup_is_escaped_once():
    assert fragment("<", Markup("<br>"), None, 3) == "&lt;<br>3"
    assert element("p", element("b", "&")) == "<p><b>&amp;</b></p>"


def test_attributes():
    assert element("th", "x", class_="a", data_value=1.5, hidden=True, title=None, open=False) == (
        '<th class="a" data-value="1.5" hidden>x</th>'
    )


def test_table():
    heads = [Head("name"), Head("value", numeric=True)]
    text = table("Some <values>", heads, [("a<b", Cell("1 us", 1e-6)), ("c", Cell("-"))])
    read = Reader(text)
    assert [tag for tag, _ in read.tags] == [
        *("div", "table", "caption", "thead", "tr", "th", "th", "tbody"),
        *("tr", "th", "td", "tr", "th", "td"),
    ]
    assert read.tags[0][1]["aria-label"] == "Some <values>"
    assert read.tags[5][1] == {"scope": "col"} and read.tags[9][1] == {"scope": "row"}
    assert read.tags[10][1] == {"class": "number", "data-value": "1e-06"}
    assert read.tags[13][1] == {"class": "number"}
    assert [t for t in read.texts if t.strip()] == ["Some <values>", "name", "value", "a<b", "1 us", "c", "-"]
