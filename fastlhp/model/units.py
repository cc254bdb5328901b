"""Exact durations and frequencies.

All arithmetic is done in fractions: ``"0.1us"`` is 100 ns, not 99.99999999999999 ns, and ``"4096cycles"`` at
2.6 GHz is 20480/13 ns until it is rounded, once, to an integer tick.
"""

import re
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, lru_cache

__all__ = [
    "DURATION_HELP",
    "DURATION_PATTERN",
    "FREQUENCY_HELP",
    "FREQUENCY_PATTERN",
    "Clock",
    "UnitError",
    "format_duration",
    "parse_duration",
    "parse_frequency",
    "round_ns",
]

DURATION_HELP = 'a duration with a unit (ns, us, ms, s, cycles or pauses), such as "30ms"'
WALL_DURATION_HELP = 'a duration with a unit (ns, us, ms, s or cycles), such as "140cycles"'
FREQUENCY_HELP = 'a frequency with a unit (Hz, kHz, MHz, GHz) from "1MHz" to "100GHz", such as "2.6GHz"'

_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
_HZ = {"Hz": 1, "kHz": 10**3, "MHz": 10**6, "GHz": 10**9}
_MIN_HZ, _MAX_HZ = 10**6, 10**11
# The number of digits is bounded: "1e999999999s" must be refused at once, not computed.
_QUANTITY = re.compile(
    r"\s*([+-]?)(\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?\s*([A-Za-zµμ]*)\s*", re.ASCII
)
# The same without a sign, for the schema of study files.
_NUMBER = r"[0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30}"
DURATION_PATTERN, FREQUENCY_PATTERN = (
    rf"^\s*\+?({_NUMBER})([eE][+-]?[0-9]{{1,2}})?\s*({'|'.join(units)})\s*$"
    for units in ((*_NS, "cycles?", "pauses?"), _HZ)
)


class UnitError(ValueError):
    """A quantity cannot be read; ``accepted`` says what can.

    Parameters
    ----------
    accepted : str
        What is accepted instead.
    """

    def __init__(self, accepted: str) -> None:
        self.accepted = accepted
        super().__init__(accepted)


@dataclass(frozen=True)
class Clock:
    """The host's clock, which gives cycles and pauses their length.

    Parameters
    ----------
    frequency_hz : Fraction or None
        Cycles per second; None where no host is known: cycles are then refused.
    pause_ns : Fraction or None
        Length of one iteration of a spin loop, in ns; None: pauses are refused.
    """

    frequency_hz: Fraction | None = None
    pause_ns: Fraction | None = None
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        # Hashing a Fraction is slow, and a clock is the key of every cached duration.
        object.__setattr__(self, "_hash", hash((self.frequency_hz, self.pause_ns)))

    def __hash__(self) -> int:
        """Return the hash computed when the clock was made."""
        return self._hash

    @cached_property
    def without_pause(self) -> "Clock":
        """The clock that a pause itself is measured with."""
        return Clock(self.frequency_hz)


def _quantity(text: str, accepted: str) -> tuple[Fraction | int, str]:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UnitError(accepted)
    sign, digits, exponent, unit = match.groups()
    if not unit:
        raise UnitError(f"a bare number has no unit; give {accepted}")
    # Fractions are slow to make and to multiply, and most numbers are whole.
    whole = exponent is None and digits.isdigit()
    value = int(digits) if whole else Fraction(digits.rstrip(".") + (exponent or ""))
    if sign == "-" and value:
        raise UnitError(f"not negative; {accepted}")
    return value, unit


@lru_cache(maxsize=1024)
def parse_duration(text: str, clock: Clock | None = None, accepted: str = DURATION_HELP) -> Fraction:
    """Return a duration in ns, exactly.

    Parameters
    ----------
    text : str
        A number and a unit: ns, us, ms, s, ``cycles`` (at the host's frequency), ``pauses`` (of the host's
        ``pause``).
    clock : Clock, optional
        The host's clock; without it cycles and pauses are refused.
    accepted : str, optional
        What an error says is accepted.

    Returns
    -------
    Fraction
        The duration in ns; >= 0, not rounded.

    Raises
    ------
    UnitError
        If the text is not a number with a known unit, or negative.

    Examples
    --------
    >>> parse_duration("0.1us")
    Fraction(100, 1)
    >>> parse_duration("4096cycles", Clock(frequency_hz=Fraction(2_600_000_000)))
    Fraction(20480, 13)
    """
    value, unit = _quantity(text, accepted)
    if unit in _NS:
        return Fraction(value * _NS[unit])
    if unit in ("cycles", "cycle"):
        if clock is None or clock.frequency_hz is None:
            raise UnitError("no cycles where the host's frequency is not known: ns, us, ms or s")
        return Fraction(value * 10**9) / clock.frequency_hz
    if unit in ("pauses", "pause"):
        if clock is None or clock.pause_ns is None:
            raise UnitError("no pauses where the host's pause is not known: ns, us, ms, s or cycles")
        return value * clock.pause_ns
    raise UnitError(f"no unit {unit!r}; {accepted}")


@lru_cache(maxsize=4096)
def parse_frequency(text: str) -> Fraction:
    """Return a frequency in Hz, exactly.

    Parameters
    ----------
    text : str
        A number and a unit: Hz, kHz, MHz or GHz.

    Returns
    -------
    Fraction
        The frequency in Hz, from 1 MHz to 100 GHz.

    Raises
    ------
    UnitError
        If the text is not such a frequency.

    Examples
    --------
    >>> parse_frequency("2.6GHz")
    Fraction(2600000000, 1)
    """
    value, unit = _quantity(text, FREQUENCY_HELP)
    if unit not in _HZ or not _MIN_HZ <= value * _HZ[unit] <= _MAX_HZ:
        raise UnitError(FREQUENCY_HELP)
    return Fraction(value * _HZ[unit])


def round_ns(duration_ns: Fraction) -> int:
    """Return a duration rounded to the nearest tick of 1 ns; halves go up.

    Examples
    --------
    >>> round_ns(Fraction(20480, 13)), round_ns(Fraction(5, 2))
    (1575, 3)
    """
    return (duration_ns.numerator * 2 + duration_ns.denominator) // (duration_ns.denominator * 2)


def format_duration(duration_ns: float) -> str:
    """Return a duration as people write it, in the largest unit that keeps the number at 1 or above.

    Examples
    --------
    >>> format_duration(10_000), format_duration(1_500_000), format_duration(0)
    ('10us', '1.5ms', '0ns')
    """
    for unit, factor in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if duration_ns >= factor:
            return f"{duration_ns / factor:.10g}{unit}"
    return f"{duration_ns:.10g}ns"
