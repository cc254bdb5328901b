"""The pictures of the catalogue: each policy has one, and it is what the policy does today."""

import re
from xml.etree import ElementTree

import pytest

from fastlhp.pictures import CAPTIONS, PICTURES, drawn, picture_name
from fastlhp.policies import FAMILIES, kinds

POLICIES = [(family, kind) for family in FAMILIES for kind in kinds(family)]
MOST_BYTES = 40_000


def structure(svg):
    """Return what a picture says, and how many bars it has: not where, which is for matplotlib to say."""
    texts = [it.text for it in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    return texts, len(re.findall(r"M[-.\d]+ [-.\d]+H[-.\d]+V[-.\d]+H[-.\d]+z", svg))


def test_each_policy_has_one():
    names = {picture_name(*policy) for policy in POLICIES}
    assert {path.name for path in PICTURES.iterdir()} == names
    assert set(CAPTIONS) == {" ".join(policy) for policy in POLICIES}
    page = (PICTURES.parent / "catalogue.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(pictures/(\S+)\)", page)) == names


@pytest.mark.parametrize("policy", POLICIES, ids=".".join)
def test_pictures_are_up_to_date(policy):
    pytest.importorskip("matplotlib")
    kept = (PICTURES / picture_name(*policy)).read_text(encoding="utf-8")
    assert len(kept.encode()) < MOST_BYTES
    texts, bars = structure(kept)
    assert any(policy[1] in text for text in texts) and bars > 50
    assert structure(drawn(*policy)) == (texts, bars), "python -m fastlhp.pictures puts it in order"
