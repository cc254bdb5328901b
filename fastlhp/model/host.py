"""The host of a study: ``[host]``."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Annotated

from pydantic import Field, PlainValidator, ValidationInfo

from fastlhp.model.distributions import Distribution, Duration
from fastlhp.model.units import FREQUENCY_HELP, Clock, UnitError, parse_duration, parse_frequency
from fastlhp.model.validation import (
    DURATION_SCHEMA,
    FREQUENCY_SCHEMA,
    Accepts,
    Context,
    Form,
    refused,
    written,
)

__all__ = ["MAX_LOCKS", "MAX_PCPUS", "MAX_VCPUS", "HostForm", "HostSpec", "clock_of"]

MAX_PCPUS = 1024
MAX_VCPUS = 4096
MAX_LOCKS = 4096
PAUSE_DEFAULT = "140cycles"
_PAUSE_HELP = 'a duration with a unit (ns, us, ms, s or cycles) above 0 and at most 1ms, such as "140cycles"'


@dataclass(frozen=True)
class HostSpec:
    """A host, as the engine sees it.

    Attributes
    ----------
    pcpus : int
        Number of physical CPUs.
    frequency_hz : float
        Clock frequency, which turns times into cycles.
    context_switch, vm_exit : Distribution
        pCPU time lost at a change of vCPU, and at a hypercall or trap.
    pause_ns : float
        Length of one iteration of a spin loop, in ns.
    """

    pcpus: int
    frequency_hz: float
    context_switch: Distribution
    vm_exit: Distribution
    pause_ns: float


def _frequency(value: object) -> Fraction:
    if isinstance(value, Fraction):
        return value
    if not isinstance(value, str):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        raise refused(
            value, f"a bare number has no unit; give {FREQUENCY_HELP}" if number else FREQUENCY_HELP
        )
    try:
        return parse_frequency(value)
    except UnitError as error:
        raise refused(value, error.accepted) from None


def _pause(value: object, info: ValidationInfo) -> Fraction:
    clock = info.context.clock.without_pause if isinstance(info.context, Context) else Clock()
    if not isinstance(value, str):
        raise refused(value, _PAUSE_HELP)
    try:
        pause_ns = parse_duration(value, clock, _PAUSE_HELP)
    except UnitError as error:
        raise refused(value, error.accepted) from None
    if not 0 < pause_ns <= 10**6:
        raise refused(value, _PAUSE_HELP)
    return pause_ns


class HostForm(Form):
    """``[host]`` as written.

    Attributes
    ----------
    pcpus : int
        Physical CPUs.
    frequency : Fraction
        Clock frequency: the length of a cycle.
    context_switch : Distribution
        pCPU time that is lost when a pCPU changes to another vCPU.
    vm_exit : Distribution
        pCPU time that a hypercall or trap takes.
    pause : Fraction
        One iteration of a spin loop: the length of a pause.
    """

    pcpus: Annotated[int, Field(ge=1, le=MAX_PCPUS)]
    frequency: Annotated[Fraction, PlainValidator(_frequency), Accepts(FREQUENCY_HELP), FREQUENCY_SCHEMA]
    context_switch: Duration = written("0ns")
    vm_exit: Duration = written("0ns")
    pause: Annotated[Fraction, PlainValidator(_pause), Accepts(_PAUSE_HELP), DURATION_SCHEMA] = written(
        PAUSE_DEFAULT
    )

    def build(self) -> HostSpec:
        """Return the host."""
        return HostSpec(
            self.pcpus, float(self.frequency), self.context_switch, self.vm_exit, float(self.pause)
        )


def clock_of(host: object) -> Clock:
    """Return the clock of a ``[host]`` table, whatever else is wrong with it.

    A frequency or pause that cannot be read is replaced by a plausible one: the mistake is reported where it
    stands, and must not make every duration in cycles a mistake as well.
    """
    table = host if isinstance(host, dict) else {}
    frequency, pause = table.get("frequency"), table.get("pause", PAUSE_DEFAULT)
    return _clock(frequency if isinstance(frequency, str) else "", pause if isinstance(pause, str) else "")


@lru_cache(maxsize=4096)
def _clock(frequency: str, pause: str) -> Clock:
    # Asked for with every table of a sweep, in which they are mostly the same.
    try:
        frequency_hz = parse_frequency(frequency)
    except UnitError:
        frequency_hz = Fraction(2_600_000_000)
    try:
        pause_ns = parse_duration(pause, Clock(frequency_hz))
    except UnitError:
        pause_ns = Fraction(140 * 10**9) / frequency_hz
    return Clock(frequency_hz, min(pause_ns, Fraction(10**6)) or Fraction(1))
