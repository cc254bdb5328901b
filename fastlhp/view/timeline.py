"""One replication as a picture: who has which pCPU, and what every vCPU does, over time."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastlhp.errors import FastlhpError
from fastlhp.model.units import format_duration
from fastlhp.run.trace import Role, State, Trace
from fastlhp.view.style import SMALL, drawing, finished, matplotlib, shortened, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MAX_PCPUS", "MAX_VCPUS", "Look", "looks_of_pcpus", "looks_of_vcpus", "timeline"]

MAX_PCPUS, MAX_VCPUS = 16, 40
"""More rows are more than a person can take in."""
MAX_SPANS, N_SHARES = 400, 400
"""A row that changes more often shows shares of time instead, of so many parts of the window."""
MAX_MARKS = 100
"""More marks are not drawn."""

Array = npt.NDArray[Any]

_WIDTH, _LABELS, _ROW = 10.0, 1.6, 0.3  # inches; a pCPU takes one and a half rows
_VM_GAP = 0.4
_MARK = "#D55E00"
# What the states leave of Okabe and Ito's palette, and olive; further VMs get the same, paler.
_VM_COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#8A8A2E")


class Look(IntEnum):
    """What can be told apart in the picture, in the order of the legend."""

    USER = 0
    KERNEL = 1
    HOLDING = 2
    SPINNING = 3
    SPINNING_LHP = 4
    SPINNING_LWP = 5
    HYPERVISOR = 6
    PREEMPTED_HOLDER = 7
    PREEMPTED_NEXT = 8
    READY = 9
    INVERTED = 10
    COSTOPPED = 11
    BLOCKED = 12
    HALTED = 13
    IDLE = 14
    FRAGMENTED = 15


@dataclass(frozen=True)
class _Fill:
    label: str
    colour: str
    hatch: str = ""
    ink: str = "black"
    height: float = 1.0


_FILLS = {
    Look.USER: _Fill("user mode", "#DADADA"),
    Look.KERNEL: _Fill("kernel, no lock", "#A0A0A0"),
    Look.HOLDING: _Fill("holds a lock", "#000000"),
    Look.SPINNING: _Fill("spins, holder runs", "#F0E442"),
    Look.SPINNING_LHP: _Fill("spins, holder off CPU", "#D55E00"),
    Look.SPINNING_LWP: _Fill("spins, next in line off CPU", "#E69F00"),
    Look.HYPERVISOR: _Fill("context switch, VM exit", "#56B4E9"),
    Look.PREEMPTED_HOLDER: _Fill("holds a lock, off CPU", "#D55E00", "xxxx"),
    Look.PREEMPTED_NEXT: _Fill("next in line, off CPU", "#E69F00", "xxxx"),
    Look.READY: _Fill("ready, waits for a pCPU", "#909090", height=0.16),
    Look.INVERTED: _Fill("ready, a lighter VM runs instead", "#FFFFFF", "//////", "#202020", 0.6),
    Look.COSTOPPED: _Fill("co-stopped", "#FFFFFF", "||||", "#404040", 0.4),
    Look.BLOCKED: _Fill("blocked, waits for a lock", "#E69F00", height=0.16),
    Look.HALTED: _Fill("halted", "#C8C8C8", height=0.05),
    Look.IDLE: _Fill("idle", "#FFFFFF", "", "#C0C0C0"),
    Look.FRAGMENTED: _Fill("idle, though a vCPU is ready", "#FFFFFF", r"\\\\", "#909090"),
}
_THIN = 0.2
_LOOK_OF_STATE = {
    State.IDLE: Look.IDLE,
    State.USER: Look.USER,
    State.KERNEL: Look.KERNEL,
    State.HOLDING: Look.HOLDING,
    State.SPINNING: Look.SPINNING,
    State.SPINNING_LHP: Look.SPINNING_LHP,
    State.SPINNING_LWP: Look.SPINNING_LWP,
    State.SWITCH: Look.HYPERVISOR,
    State.EXIT: Look.HYPERVISOR,
    State.READY: Look.READY,
    State.COSTOPPED: Look.COSTOPPED,
    State.HALTED: Look.HALTED,
    State.BLOCKED: Look.BLOCKED,
}
_LOOKS = np.array([_LOOK_OF_STATE[state] for state in State], np.int8)


def looks_of_vcpus(trace: Trace) -> Array:
    """Return the `Look` of every vCPU, shape (row, vcpu)."""
    looks: Array = _LOOKS[trace.state]
    looks[trace.inverted] = Look.INVERTED
    off_cpu = np.isin(trace.state, (State.READY, State.COSTOPPED, State.BLOCKED))
    looks[off_cpu & (trace.role == Role.HOLDS)] = Look.PREEMPTED_HOLDER
    looks[off_cpu & (trace.role == Role.GRANTED)] = Look.PREEMPTED_NEXT
    return looks


def looks_of_pcpus(trace: Trace) -> Array:
    """Return the `Look` of every pCPU, shape (row, pcpu)."""
    rows = np.arange(len(trace.state))[:, np.newaxis]
    waiting = np.isin(trace.state, (State.READY, State.COSTOPPED)).any(axis=1, keepdims=True)
    idle = np.where(waiting, Look.FRAGMENTED, Look.IDLE)
    looks: Array = np.where(trace.vcpu_on < 0, idle, _LOOKS[trace.state[rows, trace.vcpu_on]])
    return looks


@drawing()
def timeline(trace: Trace, width: float = _WIDTH) -> "Figure":
    """Draw a trace.

    Parameters
    ----------
    trace : Trace
        Of at most `MAX_PCPUS` pCPUs and `MAX_VCPUS` vCPUs.
    width : float, optional
        Of the figure, in inches.

    Returns
    -------
    matplotlib.figure.Figure
        Above the pCPUs: which vCPU has each of them, and what that does. Below the vCPUs.

    Raises
    ------
    FastlhpError
        If there are too many rows, or matplotlib is missing.
    """
    n_pcpu, n_vcpu = trace.configuration.host.pcpus, trace.configuration.n_vcpu
    if n_pcpu > MAX_PCPUS or n_vcpu > MAX_VCPUS:
        raise FastlhpError(
            f"a picture has room for {MAX_PCPUS} pCPUs and {MAX_VCPUS} vCPUs, found {n_pcpu} and {n_vcpu}; "
            "a trace file (-o FILE.json) has room for all"
        )
    tops = np.arange(n_vcpu) + _VM_GAP * trace.vm_of
    heights = (1.5 * n_pcpu, tops[-1] + 1)
    made = matplotlib().figure.Figure(figsize=(width, _ROW * sum(heights) + 0.8))
    upper, lower = made.subplots(2, 1, sharex=True, height_ratios=heights)
    canvas = _Canvas(trace, width - _LABELS)
    canvas.draw_pcpus(upper)
    canvas.draw_vcpus(lower, tops)
    for axes in (upper, lower):
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, pad=9)
    upper.set(xlim=(canvas.x(trace.begin_ns), canvas.x(trace.end_ns)), ylim=(n_pcpu, -0.15), ylabel="pCPU")
    lower.set(ylim=(tops[-1] + 1, 0), xlabel=f"simulated time ({canvas.unit})")
    notes = [f"{path} = {label}" for path, label in trace.configuration.labels.items()]
    notes.append(
        f"configuration {trace.configuration.index}, replication {trace.replication}, seed {trace.seed}"
    )
    if canvas.has_shares:
        part = format_duration((trace.end_ns - trace.begin_ns) / N_SHARES)
        notes.append(f"rows that change more than {MAX_SPANS} times show shares of each {part}")
    return finished(made, trace.study, notes, *canvas.legend())


def _scale(length_ns: int) -> tuple[str, float]:
    """The unit in which a window of some length is written, and its length in ns."""
    for unit, ns in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if length_ns >= 2 * ns:
            return unit, ns
    return "ns", 1.0


class _Canvas:
    """What the rows of a picture have in common: the trace, the scale of time, what the legend has to explain."""

    def __init__(self, trace: Trace, width: float) -> None:
        self.trace = trace
        self._inch_ns = (trace.end_ns - trace.begin_ns) / width
        self.unit, self._ns = _scale(trace.end_ns - trace.begin_ns)
        self.has_shares = False
        self._looks: set[Look] = set()
        self._marks: list[tuple[Any, str]] = []
        self._colours = [_colour_of_vm(m) for m in range(len(trace.configuration.vms))]
        self._names = [shortened(name, 24) for name in trace.vcpu_names]

    def x(self, t: Any) -> Any:
        """Times as they are written."""
        return np.asarray(t) / self._ns

    def draw_pcpus(self, axes: "Axes") -> None:
        """Draw a row of height 1 for each pCPU: above, its vCPU in the colour of the VM; below, what that does."""
        trace, looks = self.trace, looks_of_pcpus(self.trace)
        # What has no VM keeps its look; VMs come after them.
        whose = np.where(
            (trace.vcpu_on < 0) | (looks == Look.HYPERVISOR), looks, len(Look) + trace.vm_of[trace.vcpu_on]
        )
        polygons: dict[int, list[Array]] = {}
        for p in range(whose.shape[1]):
            self._add(polygons, whose[:, p], p + 0.1, p + 0.62)
            self._add(polygons, looks[:, p], p + 0.62, p + 0.9)
            self._name(axes, p)
        self._put(axes, polygons)
        self._outline_extensions(axes)
        self._mark_preemptions(axes)
        axes.set_yticks(np.arange(whose.shape[1]) + 0.5, [str(p) for p in range(whose.shape[1])])

    def draw_vcpus(self, axes: "Axes", tops: Array) -> None:
        """Draw a row for each vCPU, from given heights on."""
        looks = looks_of_vcpus(self.trace)
        polygons: dict[int, list[Array]] = {}
        for v, top in enumerate(tops):
            self._add(polygons, looks[:, v], top + 0.12, top + 0.88)
            self._number_locks(axes, v, top)
        self._put(axes, polygons)
        axes.set_yticks(tops + 0.5, self._names)
        for vm, top in zip(self.trace.vm_of, tops, strict=True):
            axes.axhspan(
                top,
                top + 1,
                xmin=-0.011,
                xmax=-0.004,
                color=self._colours[vm],
                linewidth=0,
                clip_on=False,
            )

    def legend(self) -> tuple[list[Any], list[str]]:
        """Handles and labels of what has been drawn."""
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        handles: list[Any] = []
        for look in sorted(self._looks):
            fill = _FILLS[look]
            if fill.height <= _THIN:
                handles.append(Line2D([], [], color=fill.colour, linewidth=20 * fill.height))
            else:
                edge = "#808080" if fill.colour == "#FFFFFF" and not fill.hatch else fill.ink
                handles.append(Patch(facecolor=fill.colour, hatch=fill.hatch, edgecolor=edge, linewidth=0.5))
        labels = [_FILLS[look].label for look in sorted(self._looks)]
        return handles + [mark for mark, _ in self._marks], labels + [label for _, label in self._marks]

    def _add(self, polygons: dict[int, list[Array]], keys: Array, top: float, bottom: float) -> None:
        """Add a row's polygons, by key."""
        for key, share, shapes in _shapes(self.trace.times, keys):
            height = 1.0 if share or key >= len(Look) else _FILLS[Look(key)].height
            for shape in shapes:
                y = 0.5 + height * (shape[:, 1] - 0.5)
                polygons.setdefault(key, []).append(
                    np.column_stack([self.x(shape[:, 0]), bottom + (top - bottom) * y])
                )
            self.has_shares |= share

    def _put(self, axes: "Axes", polygons: dict[int, list[Array]]) -> None:
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        for key in sorted(polygons):
            if key >= len(Look):
                fill = _Fill("", self._colours[key - len(Look)])
            else:
                fill = _FILLS[Look(key)]
                self._looks.add(Look(key))
            # One shape of many polygons is drawn much faster than these, and makes smaller files.
            closed = (Path(np.append(polygon, polygon[:1], axis=0), closed=True) for polygon in polygons[key])
            axes.add_artist(
                PathPatch(
                    Path.make_compound_path(*closed),
                    facecolor=fill.colour,
                    hatch=fill.hatch or None,
                    edgecolor=fill.ink,
                    linewidth=0,
                    antialiased=False,
                )
            )

    def _name(self, axes: "Axes", p: int) -> None:
        """Write into the row of a pCPU which vCPU has it, where there is room; part those of the same VM."""
        spans = self.trace.spans(vcpu=self.trace.vcpu_on[:, p])
        vms = np.where(spans["vcpu"] < 0, -1, self.trace.vm_of[spans["vcpu"]])
        changes = spans["begin_ns"][1:][vms[1:] == vms[:-1]]
        if len(changes) <= MAX_SPANS:
            axes.vlines(self.x(changes), p + 0.1, p + 0.62, color="white", linewidth=1)
        for v, name in enumerate(self._names):
            ink = _ink_on(self._colours[self.trace.vm_of[v]])
            self._write(axes, spans[spans["vcpu"] == v], p + 0.365, name, ink)

    def _number_locks(self, axes: "Axes", v: int, top: float) -> None:
        """Write into the bars of a vCPU which of several locks it holds or spins for, where there is room."""
        counts = [vm.lock.count for vm in self.trace.configuration.vms]
        vm = self.trace.vm_of[v]
        spans = self.trace.vcpu_spans(v)
        if counts[vm] == 1 or len(spans) > MAX_SPANS:
            return
        for state in (State.HOLDING, State.SPINNING, State.SPINNING_LHP, State.SPINNING_LWP):
            ink = _ink_on(_FILLS[_LOOK_OF_STATE[state]].colour)
            for number in range(counts[vm]):
                chosen = (spans["state"] == state) & (spans["lock"] == sum(counts[:vm]) + number)
                self._write(axes, spans[chosen], top + 0.5, str(number), ink)

    def _write(self, axes: "Axes", spans: Array, y: float, text: str, ink: str) -> None:
        """Write a text in the middle of those spans in which there is room for it."""
        lengths = spans["end_ns"] - spans["begin_ns"]
        has_room = lengths > text_width(text, SMALL) * self._inch_ns / 0.9
        for middle in self.x(spans["begin_ns"] + lengths / 2)[has_room]:
            axes.text(
                middle, y, text, size=SMALL, color=ink, ha="center", va="center_baseline", in_layout=False
            )

    def _outline_extensions(self, axes: "Axes") -> None:
        from matplotlib.patches import Patch, Rectangle

        spans = [
            self.trace.spans(pcpu=p, extended=self.trace.extended[:, p])
            for p in range(len(self.trace.vcpu_on[0]))
        ]
        extended = np.concatenate(spans)
        extended = extended[extended["extended"] == 1]
        if not 0 < len(extended) <= MAX_MARKS:
            return
        look: dict[str, Any] = {"fill": False, "edgecolor": "#000000", "linewidth": 1.2}
        for span in extended:
            begin, end = self.x(span["begin_ns"]), self.x(span["end_ns"])
            axes.add_patch(Rectangle((begin, span["pcpu"] + 0.04), end - begin, 0.92, **look))
        self._marks.append((Patch(**look), "slice extended by the guard"))

    def _mark_preemptions(self, axes: "Axes") -> None:
        lost = self.trace.preemptions[self.trace.preemptions["role"] == Role.HOLDS]
        if not 0 < len(lost) <= MAX_MARKS:
            return
        marks = axes.scatter(
            self.x(lost["at_ns"]),
            lost["pcpu"],
            marker="v",
            s=36,
            color=_MARK,
            edgecolors="black",
            linewidths=0.5,
            clip_on=False,
            zorder=3,
        )
        self._marks.append((marks, "a lock holder loses its pCPU"))


def _parts(colour: str) -> list[int]:
    """Red, green and blue, of 255."""
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _colour_of_vm(m: int) -> str:
    """Colour of a VM: the more VMs there are, the paler the later ones."""
    paler = 1 - 0.65 ** (m // len(_VM_COLOURS))
    parts = _parts(_VM_COLOURS[m % len(_VM_COLOURS)])
    return "#" + "".join(f"{round(part + (235 - part) * paler):02X}" for part in parts)


def _ink_on(colour: str) -> str:
    """Black or white, whichever is easier to read on a colour."""
    red, green, blue = _parts(colour)
    return "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 140 else "black"


def _rectangles(begin: Array, end: Array) -> list[Array]:
    return [np.array([(b, 0), (e, 0), (e, 1), (b, 1)]) for b, e in zip(begin, end, strict=True)]


def _shapes(times: Array, keys: Array) -> Iterator[tuple[int, bool, list[Array]]]:
    """Yield each key of a row, whether it shows shares, and its shapes: polygons over time, of heights in 0..1."""
    first = _starts(keys)
    begin, end = times[first], times[np.append(first[1:], len(keys))]
    keys = keys[first]
    if len(first) <= MAX_SPANS:
        for key in np.unique(keys):
            yield int(key), False, _rectangles(begin[keys == key], end[keys == key])
        return
    edges = np.linspace(begin[0], end[-1], N_SHARES + 1)
    lower = np.zeros(N_SHARES)
    for key in np.unique(keys):
        spent = np.append(0, np.cumsum((end - begin) * (keys == key)))
        share = np.diff(np.interp(edges, np.append(begin, end[-1]), spent)) / np.diff(edges)
        is_thin = key < len(Look) and _FILLS[Look(key)].height <= _THIN
        # What is drawn thin has no height to share: it is there only where there is nothing else.
        runs = _runs(share > 1 - 1e-9) if is_thin else _runs(share > 0)
        if is_thin:
            yield int(key), False, _rectangles(edges[[a for a, _ in runs]], edges[[b for _, b in runs]])
            continue
        upper = lower + share
        shapes = []
        for a, b in runs:
            x = np.repeat(edges[a : b + 1], 2)[1:-1]
            y = np.append(np.repeat(lower[a:b], 2), np.repeat(upper[a:b], 2)[::-1])
            shapes.append(np.column_stack([np.append(x, x[::-1]), y]))
        yield int(key), True, shapes
        lower = upper


def _starts(values: Array) -> Array:
    """Where the values change, the first place included."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1]))


def _runs(chosen: Array) -> list[tuple[int, int]]:
    """First place and the one after the last of every run of what is chosen."""
    first = _starts(chosen)
    after = np.append(first[1:], len(chosen))
    return [(a, b) for a, b in zip(first.tolist(), after.tolist(), strict=True) if chosen[a]]
