"""Structure of the figures: what is drawn, with which numbers, and whether it can be read."""

import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import fastlhp
from fastlhp.analysis.sweep import AnalysisError
from fastlhp.cli.main import main
from fastlhp.results.counters import HOST_COUNTERS, N_BINS, VM_COUNTERS, VM_INDEX, ConfigurationResult
from fastlhp.results.file import ResultWriter
from fastlhp.results.results import UnknownMetricError

pytest.importorskip("matplotlib")

from fastlhp.view import figures, style

RESPONSES = [
    {"kind": "none"},
    {"kind": "yield", "spin_threshold": "25us"},
    {"kind": "halt", "label": "$halt$"},
]
STUDY = {
    "study": {"name": "remedies $1", "seed": 3, "duration": "1s", "warmup": "0ms", "replications": 8},
    "host": {"pcpus": 2, "frequency": "2GHz"},
    "policy": {"preset": "baseline"},
    "vm": [
        {"name": "guest", "vcpus": 2, "user": "40us", "hold": "2us", "lock": {"kind": "ticket", "count": 1}}
    ],
}
SWEEPS = {
    "none": {},
    "policies": {"policy.response": RESPONSES},
    "line": {"vm.guest.count": [1, 2, 3], "policy.response": RESPONSES},
    "grid": {
        "vm.guest.count": [1, 2, 3],
        "policy.scheduler.slice": ["1ms", "10ms", "100ms"],
        "policy.response": RESPONSES,
    },
    "many": {
        "vm.guest.count": [1, 2],
        "vm.guest.user": [f"{n}us" for n in range(30, 50)],
        "policy.scheduler.slice": ["1ms", "10ms", "100ms"],
        "vm.guest.lock.kind": ["ticket", "queue", "test_and_set"],
        "policy.response": RESPONSES,
    },
}


def write(path, sweep, study=STUDY):
    study = fastlhp.load(study | {"sweep": sweep} if sweep else study)
    with ResultWriter(path, study) as writer:
        for i, configuration in enumerate(study.configurations):
            rng = np.random.default_rng(i)
            n_vms = len(configuration.vms)
            vm = np.zeros((study.replications, n_vms, len(VM_COUNTERS)), dtype=np.int64)
            size = vm.shape[:2]
            vm[:, :, VM_INDEX["spin_ns"]] = rng.integers(2 * 10**7, 3 * 10**7, size) * (1 + i % 3)
            vm[:, :, VM_INDEX["spin_lhp_ns"]] = 10**7
            vm[:, :, VM_INDEX["user_ns"]] = 3 * 10**8
            vm[:, :, VM_INDEX["acquisitions"]] = 10_000 + rng.integers(0, 10, size)
            vm[:, :, VM_INDEX["lhp_acquisitions"]] = rng.integers(20, 40, size) * (i % 3)
            vm[:, :, VM_INDEX["preemptions"]] = 1000
            host = np.zeros((study.replications, len(HOST_COUNTERS)), dtype=np.int64)
            histogram = np.zeros((2, N_BINS), dtype=np.int64)
            histogram[:, 150:400] = rng.integers(0, 50, (2, 250))
            writer.write(ConfigurationResult(i, vm, host, histogram))
        writer.close()
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    return {name: write(folder / f"{name}.h5", sweep) for name, sweep in SWEEPS.items()}


def results_of(files, name):
    return fastlhp.open(files[name])


def boxes(artists, renderer):
    return [it.get_window_extent(renderer) for it in artists if it.get_visible() and it.get_text()]


def assert_readable(figure):
    """No text overlaps another one of its axis or leaves the figure, and no legend covers an axis."""
    with style.drawing():
        figure.draw_without_rendering()
        renderer = figure._get_renderer()
        whole = figure.bbox.padded(1)
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                ticks = [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
                texts = boxes(ticks, renderer)
                assert not any(a.overlaps(b) for i, a in enumerate(texts) for b in texts[:i])
                for box in [*texts, *boxes([axis.label, axes._left_title], renderer)]:
                    assert whole.x0 <= box.x0 and box.x1 <= whole.x1
                    assert whole.y0 <= box.y0 and box.y1 <= whole.y1
            for legend in figure.legends:
                assert not legend.get_window_extent(renderer).overlaps(axes.get_tightbbox(renderer))
        heads = boxes(figure.texts, renderer)
        assert heads and all(box.x1 <= whole.x1 for box in heads)
        assert not any(box.overlaps(axes.get_tightbbox(renderer)) for box in heads for axes in figure.axes)


@pytest.mark.parametrize(
    ("name", "stems"),
    [
        ("none", ["time-split", "lock-waits"]),
        ("policies", ["curve-wasted_fraction", "curve-lhp_probability", "time-split", "lock-waits"]),
        ("line", ["curve-wasted_fraction", "curve-lhp_probability", "time-split", "lock-waits"]),
        ("grid", None),
        ("many", None),
    ],
)
def test_defaults_are_readable(files, name, stems):
    found = figures.default_figures(results_of(files, name))
    assert len(found) == 6 if stems is None else [stem for stem, _, _ in found] == stems
    for _, says, figure in found:
        assert says and "\n" not in says
        assert_readable(figure)


def test_curve_has_the_values_of_the_summary(files):
    results = results_of(files, "line")
    for metric in ("wasted_fraction", "lhp_probability"):
        figure = figures.curve(results, metric, "count")
        (axes,) = figure.axes
        summary = results.summary(metric)
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("vm.guest.count", metric)
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["none", "yield", "$halt$"]
        assert axes.yaxis.get_major_formatter()(0.25) == "25 %"
        for i, (line, band) in enumerate(zip(axes.lines, axes.collections, strict=True)):
            assert line.get_xdata().tolist() == [1, 2, 3]
            np.testing.assert_array_equal(line.get_ydata(), summary.mean[i::3])
            if not summary.mean[i]:
                assert not band.get_paths()
                continue
            corners = band.get_paths()[0].vertices
            for x, low, high in zip([1, 2, 3], summary.low[i::3], summary.high[i::3], strict=True):
                there = corners[corners[:, 0] == x, 1]
                np.testing.assert_allclose([there.min(), there.max()], [low, high])


def test_curve_averages_what_is_too_much(files):
    results = results_of(files, "many")
    figure = figures.curve(results, "wasted_fraction", "count")
    text = " ".join(text.get_text() for text in figure.texts)
    assert "averaged over 60 settings of user and slice" in text
    assert figure.axes[0].get_title(loc="left") == "lock=ticket"
    shown = figure.axes[0].lines[0].get_ydata()
    columns = results.configurations
    first = (columns["vm.guest.lock.kind"] == "ticket") & (columns["policy.response"] == "none")
    mean = results.summary("wasted_fraction").mean
    for count, value in zip((1, 2), shown, strict=True):
        assert value == pytest.approx(mean[first & (columns["vm.guest.count"] == count)].mean())


def test_curve_along_a_policy_is_dots(files):
    figure = figures.curve(results_of(files, "policies"), "wasted_fraction")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["none", "yield", "$halt$"]
    summary = results_of(files, "policies").summary("wasted_fraction")
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), summary.mean)


def test_time_split_is_all_time_that_was_booked(files):
    results = results_of(files, "line")
    (axes,) = figures.time_split(results).axes
    ends = np.zeros(9)
    for bars in axes.containers:
        for i, bar in enumerate(bars):
            assert bar.get_x() == pytest.approx(ends[i])
            ends[i] += bar.get_width()
    booked = results.summary("user_time").mean + results.summary("spin_time").mean
    np.testing.assert_allclose(ends, booked / 2)


def test_lock_waits_are_survival_functions(files):
    results = results_of(files, "policies")
    wait, off = figures.lock_waits(results).axes
    assert (wait.get_xscale(), wait.get_yscale()) == ("log", "log")
    assert wait.xaxis.get_major_formatter()(1e-5) == "10 µs"
    counts, edges = results.histogram("wait")
    pooled = counts[0]
    x, y = wait.lines[0].get_data()
    for edge, share in list(zip(x, y, strict=True))[::40]:
        assert share == pytest.approx(pooled[edges[:-1] >= edge].sum() / pooled.sum())
    assert len(off.lines) == len(wait.lines) == 3 and np.all(np.diff(y) <= 0)
    assert wait.yaxis.get_major_formatter()(1e-7) == "0.00001 %"


def test_lock_waits_begin_where_there_are_some(tmp_path):
    """Axes leave out times of which there are hardly any, and what is no wait at all; columns have their own."""
    path = tmp_path / "waits.h5"
    study = fastlhp.load(STUDY)
    with ResultWriter(path, study) as writer:
        vm = np.zeros((8, 1, len(VM_COUNTERS)), dtype=np.int64)
        histogram = np.zeros((2, N_BINS), dtype=np.int64)
        histogram[0, [0, 50, 200, 300]] = 5000, 5, 1000, 1000
        histogram[1, [400, 500]] = 10
        writer.write(ConfigurationResult(0, vm, np.zeros((8, len(HOST_COUNTERS)), dtype=np.int64), histogram))
        writer.close()
    results = fastlhp.open(path)
    edges = results.histogram("wait")[1]
    for axes, first, last in zip(figures.lock_waits(results).axes, (200, 400), (300, 500), strict=True):
        low, high = axes.get_xlim()
        assert edges[first - 5] < low <= edges[first + 1] and edges[last] <= high < edges[last + 5]


def test_heat_map_has_the_means(files):
    results = results_of(files, "grid")
    figure = figures.heat_map(results, "wasted_fraction", "count", "slice")
    *panels, bar = figure.axes
    mean = results.summary("wasted_fraction").mean.reshape(3, 3, 3)
    for i, (axes, name) in enumerate(zip(panels, ["none", "yield", "$halt$"], strict=True)):
        assert axes.get_title(loc="left") == f"response={name}"
        np.testing.assert_allclose(axes.collections[0].get_array(), mean[:, :, i].T)
    assert bar.get_ylabel() == "wasted_fraction"
    assert [text.get_text() for text in panels[0].get_yticklabels()] == ["1ms", "10ms", "100ms"]
    assert panels[0].get_yticks().tolist() == [0.5, 1.5, 2.5]


def test_winner_map_names_the_best_and_hatches_what_is_unclear(files):
    results = results_of(files, "grid")
    figure = figures.winner_map(results, "wasted_fraction", "count", "slice")
    (axes,) = figure.axes
    # Configurations with "none" spin least, by far.
    assert len(axes.patches) == 9 and not any(patch.get_hatch() for patch in axes.patches)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["none"]
    unclear = figures.winner_map(results, "throughput", "count", "slice")
    assert any(patch.get_hatch() for patch in unclear.axes[0].patches)
    assert unclear.legends[0].get_texts()[-1].get_text() == "cannot be told from others"


def test_names_are_told_from_those_on_the_axes(tmp_path):
    """A guard and a response of the kind none: which is which has to be said."""
    guards = [{"kind": "none"}, {"kind": "delay"}]
    results = fastlhp.open(
        write(tmp_path / "both.h5", {"policy.guard": guards, "policy.response": RESPONSES[:2]})
    )
    figure = figures.curve(results, "throughput", "response")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["none", "delay"]
    sizes = {line.get_markersize() for line in figure.axes[0].get_lines()}
    assert len(sizes) == 1, "dots beside each other are equally large"
    locks = {"vm.guest.lock.kind": ["ticket", "queue"], "vm.guest.count": [1, 2]}
    results = fastlhp.open(
        write(tmp_path / "all.h5", {"policy.guard": guards, "policy.response": RESPONSES[:2], **locks})
    )
    figure = figures.winner_map(results, "throughput", "count", "response")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert not {"none, ticket", "none, queue"} & set(names)
    assert all(name.startswith(("guard=none, ", "delay, ", "cannot")) for name in names)


def test_bins_of_a_sampled_design_have_several_configurations(tmp_path):
    study = STUDY | {"study": STUDY["study"] | {"design": {"kind": "sobol", "points": 64, "seed": 1}}}
    sweep = {
        "vm.guest.user": {"from": "10us", "to": "100us"},
        "policy.scheduler.slice": {"from": "1ms", "to": "10ms"},
        "policy.response": RESPONSES[:2],
    }
    axes, *_ = figures.curve(fastlhp.open(write(tmp_path / "s.h5", sweep, study)), "throughput", "user").axes
    assert [len(line.get_xdata()) for line in axes.get_lines()] == [16, 16]
    sweep["vm.guest.count"] = [1, 2, 3, 4]
    study["study"]["design"]["points"] = 32
    figure = figures.curve(fastlhp.open(write(tmp_path / "t.h5", sweep, study)), "throughput", "user")
    assert len(figure.axes) == 4
    assert {len(line.get_xdata()) for line in figure.axes[0].get_lines()} == {8}


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda r: figures.curve(r["none"], "wasted_fraction"), AnalysisError, "nothing is swept"),
        (lambda r: figures.curve(r["line"], "wasted_fracton"), UnknownMetricError, "wasted_fraction"),
        (lambda r: figures.curve(r["line"], "throughput", "slice"), AnalysisError, "is not swept"),
        (lambda r: figures.heat_map(r["policies"], "throughput"), AnalysisError, "two swept parameters"),
        (lambda r: figures.winner_map(r["policies"]), AnalysisError, "two swept parameters"),
        (lambda r: figures.winner_map(r["line"]), AnalysisError, "nothing to choose"),
    ],
)
def test_errors(files, draw, error, message):
    with pytest.raises(error, match=message):
        draw({name: results_of(files, name) for name in ("none", "policies", "line")})


def plot(*arguments):
    return CliRunner().invoke(main, ["plot", *map(str, arguments)])


def test_command(files, tmp_path):
    done = plot(files["line"], "-o", tmp_path / "all", "--format", "svg")
    assert done.exit_code == 0, done.output
    names = sorted(os.listdir(tmp_path / "all"))
    assert len(names) == len(done.stdout.splitlines()) == 4 and all(name.endswith(".svg") for name in names)
    again = plot(files["line"], "-o", tmp_path / "all", "--format", "svg")
    assert again.exit_code == 2 and "--force" in again.stderr
    assert plot(files["line"], "-o", tmp_path / "all", "--format", "svg", "--force").exit_code == 0

    one = plot(files["line"], "--kind", "curve", "--metric", "throughput", "-o", tmp_path / "one.png")
    assert one.exit_code == 0 and (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.h5"], "there is no file nowhere.h5"),
        (["FILE", "--metric", "wasted_fracton"], "did you mean wasted_fraction"),
        (["FILE", "--along", "slice"], "'slice' is not swept"),
        (["FILE", "-o", "one.png"], "4 figures for one file"),
        (["FILE", "--kind", "time-split", "--metric", "throughput"], "--metric and --along go with"),
        (["FILE", "--kind", "time-split", "-o", "one.png", "--format", "pdf"], "is no name of a pdf file"),
    ],
)
def test_command_with_bad_input(files, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = plot(*[files["line"] if a == "FILE" else a for a in arguments])
    assert done.exit_code == 2 and message in done.stderr and not done.stdout
    assert not os.listdir(tmp_path)


def test_without_matplotlib(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = plot(files["line"])
    assert done.exit_code == 2 and "pip install 'fastlhp[report]'" in done.stderr
    assert not os.listdir(tmp_path)


def test_files_are_the_same_to_the_last_byte(files, tmp_path):
    for number, form in enumerate(style.FORMATS):
        made = []
        for run in range(2):
            out = tmp_path / f"{form}-{run}"
            environment = os.environ | {"PYTHONHASHSEED": str(7 * run + number)}
            command = [sys.executable, "-m", "fastlhp", "plot", str(files["line"]), "--format", form]
            command += ["--kind", "curve", "--kind", "time-split", "-o", str(out)]
            subprocess.run(command, check=True, capture_output=True, env=environment)
            made.append({path.name: path.read_bytes() for path in out.iterdir()})
        assert len(made[0]) == 3 and made[0] == made[1]


def test_svg_in_a_page(files):
    a, b = (style.svg(figures.time_split(results_of(files, name))) for name in ("line", "policies"))
    assert a.startswith("<svg") and "http://www.w3.org/1999/02/22-rdf" not in a
    ids = [{part.split('"')[0] for part in text.split(' id="')[1:]} for text in (a, b)]
    assert all(ids) and not ids[0] & ids[1]
