"""The pages as a site: without warnings, without network, without dead links."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from fastlhp.reference import DOCS

pytest.importorskip("mkdocs")

ROOT = Path(__file__).resolve().parents[2]


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.places = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.places |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a":
            self.links += [given["href"]] if given.get("href") else []
        else:
            self.loads += [given[name] for name in ("src", "href", "data", "srcset") if given.get(name)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "--quiet",
            "-f",
            ".mkdocs.yml",
            "--site-dir",
            str(folder),
        ],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=True,
    )
    return folder


def is_outside(link):
    return re.match(r"[a-z][a-z+.-]*:|//", link) is not None


def test_all_pages_are_built_and_can_be_reached(site):
    built = {path.stem for path in site.glob("*.html")} - {"404"}
    assert built == {path.stem for path in DOCS.glob("*.md")}
    menu = {urldefrag(link).url for link in Page(site / "index.html").links}
    assert {f"{name}.html" for name in built} <= menu | {"index.html"}


def test_nothing_is_loaded_from_elsewhere(site):
    for path in site.rglob("*.html"):
        for load in Page(path).loads:
            if load.startswith("data:") or path.name == "404.html" and not is_outside(load):
                continue
            assert not is_outside(load), (path.name, load)
            assert (path.parent / unquote(urldefrag(load.partition("?")[0]).url)).exists(), (path.name, load)
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert "@import" not in text
        for load in re.findall(r"url\(\s*[\"']?([^\"')]*)", text):
            assert load.startswith("data:") or not is_outside(load), (path.name, load)


def test_no_link_is_dead(site):
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    checked = 0
    for path, page in pages.items():
        for link in page.links:
            if is_outside(link):
                continue
            file, place = urldefrag(link)
            target = (path.parent / unquote(file)).resolve() if file else path
            assert target in pages, (path.name, link)
            assert not place or unquote(place) in pages[target].places, (path.name, link)
            checked += 1
    assert checked > 100
