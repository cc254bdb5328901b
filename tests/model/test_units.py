"""Durations and frequencies are exact, and mistakes say what to write."""

from fractions import Fraction

import pytest

from fastlhp.model.units import (
    Clock,
    UnitError,
    format_duration,
    parse_duration,
    parse_frequency,
    round_ns,
)

CLOCK = Clock(Fraction(2_600_000_000), Fraction(140, 1) / Fraction(26, 10))


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("30ms", 30_000_000),
        ("0.1us", 100),
        ("0.3us", 300),
        ("1e-3s", 1_000_000),
        ("2.5ns", Fraction(5, 2)),
        (" 7 us ", 7000),
        ("0s", 0),
        ("-0us", 0),
        (".5us", 500),
        ("4096cycles", Fraction(4096 * 10, 26)),
        ("1cycle", Fraction(10, 26)),
        ("32768pauses", Fraction(32768 * 1400, 26)),
    ],
)
def test_durations_are_exact(text, expected_ns):
    assert parse_duration(text, CLOCK) == expected_ns


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("30", "a bare number has no unit"),
        ("", "a duration with a unit"),
        ("ms", "a duration with a unit"),
        ("-5us", "not negative"),
        ("5 parsecs", "no unit 'parsecs'"),
        ("5US", "no unit 'US'"),
        ("1e999999999s", "a duration with a unit"),
        ("nan us", "a duration with a unit"),
        ("1" * 4000 + "us", "a duration with a unit"),
        ("١us", "a duration with a unit"),
    ],
)
def test_what_is_no_duration(text, says):
    with pytest.raises(UnitError, match=says):
        parse_duration(text, CLOCK)


def test_cycles_need_a_clock():
    with pytest.raises(UnitError, match="frequency is not known"):
        parse_duration("5cycles")
    with pytest.raises(UnitError, match="pause is not known"):
        parse_duration("5pauses", Clock(Fraction(10**9)))


@pytest.mark.parametrize(
    ("text", "hz"),
    [("2.6GHz", 2_600_000_000), ("1MHz", 10**6), ("100GHz", 10**11), ("2600000kHz", 26 * 10**8)],
)
def test_frequencies(text, hz):
    assert parse_frequency(text) == hz


@pytest.mark.parametrize("text", ["2.6", "0GHz", "101GHz", "1ms", "GHz", "2.6ghz", "-1GHz"])
def test_what_is_no_frequency(text):
    with pytest.raises(UnitError, match="a frequency with a unit"):
        parse_frequency(text)


def test_rounding_is_to_the_nearest_tick_halves_up():
    values = [Fraction(1, 2), Fraction(3, 2), Fraction(5, 2), Fraction(1575384, 1000), Fraction(0)]
    assert [round_ns(value) for value in values] == [1, 2, 3, 1575, 0]


@pytest.mark.parametrize(
    ("ns", "text"), [(0, "0ns"), (999, "999ns"), (1000, "1us"), (2.5e6, "2.5ms"), (1e15, "1000000s")]
)
def test_durations_are_shown_as_people_write_them(ns, text):
    assert format_duration(ns) == text
