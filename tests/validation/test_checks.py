"""What agrees, what misses, and how it is told."""

import csv
import io
import json
import math

import pytest

from fastlhp.validation import PARTS
from fastlhp.validation.checks import Check, Part, check, not_compared, validate
from fastlhp.validation.report import as_csv, as_json, as_table


def test_the_widest_allowance_counts():
    assert check("x", (1.0, 0.0), (1.0, 0.0)).agrees
    assert not check("x", (1.01, 0.0), (1.0, 0.0)).agrees
    assert check("x", (1.09, 0.0), (1.0, 0.0), relative=0.1).agrees
    assert not check("x", (1.11, 0.0), (1.0, 0.0), relative=0.1).agrees
    assert check("x", (0.011, 0.0), (0.005, 0.0), relative=0.1, absolute=0.006).agrees
    # Both errors count, and count four times.
    assert check("x", (1.0, 0.03), (1.19, 0.04)).agrees
    assert not check("x", (1.0, 0.03), (1.21, 0.04)).agrees


def test_a_miss_names_its_cause():
    assert check("x", (2.0, 0.0), (1.0, 0.0), cause="ticks").note == "ticks"
    assert check("x", (1.0, 0.0), (1.0, 0.0), cause="ticks").note == ""
    assert not_compared("x", "nothing there").verdict == "not compared"
    assert not_compared("x", "nothing there").agrees


@pytest.fixture
def part():
    agrees = check("rate [1/s]", (12345.6, 12.3), (12350.0, 20.0))
    misses = check("share", (0.5, 0.0), (0.25, 0.001), cause="ticks")
    bound = Check("ratio", 3.0, 0.0, math.nan, 0.0, 2.0, math.inf)
    outcomes = [
        ("one", [agrees, bound]),
        ("two", [agrees, misses]),
        ("three", [not_compared("all", "too hard")]),
    ]
    return Part("x", "something", 0, outcomes)


def test_a_part_fails_with_more_misses_than_allowed(part):
    assert part.missed == ["two"]
    assert not part.passes
    assert Part("x", "something", 1, part.outcomes).passes


def test_table(part):
    text = as_table(part)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "rate [1/s] 12346 ± 12 12350 ± 20 12256 .. 12444 agrees" in lines
    assert "share 0.5 0.2500 ± 0.0010 0.246 .. 0.254 MISSES" in lines
    assert "likely cause: ticks" in lines
    assert "ratio 3 - >= 2 agrees" in lines
    assert "too hard" in lines
    assert lines[-1] == "1 of 2 cases agree, 1 not compared: FAILED"
    assert "±" not in as_table(part, ascii_only=True)


def test_small_numbers_share_a_power():
    text = as_table(Part("x", "", 0, [("one", [check("p", (4.2e-5, 1.9e-6), (4e-5, 0.0))])]))
    assert "(4.20 ± 0.19)e-05" in text


def test_csv_and_json(part):
    rows = list(csv.DictReader(io.StringIO(as_csv([part]))))
    assert [row["verdict"] for row in rows] == ["agrees", "agrees", "agrees", "MISSES", "not compared"]
    assert float(rows[0]["predicted"]) == 12345.6
    assert rows[1]["high"] == rows[1]["reference"] == ""
    document = json.loads(as_json([part]))
    (only,) = document["parts"]
    assert only["missed"] == ["two"] and only["passes"] is False
    assert only["cases"][0]["checks"][1]["reference"] is None
    assert only["cases"][1]["checks"][1]["note"] == "ticks"


def test_closed_forms_agree():
    told = []
    (part,) = validate("a", quick=True, threads=1, progress=told.append)
    assert part.passes and part.letter == "a"
    assert len(part.outcomes) == len(told) == 9
    assert told[-1].done_replications == told[-1].n_replications
    assert told[-1].done_configurations == told[-1].n_configurations
    assert told[-1].events > 0


def test_letters():
    assert list(PARTS) == sorted(PARTS)
