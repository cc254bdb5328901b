import base64
import hashlib
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from browser import Browser
from click.testing import CliRunner
from made_up import grid, results_of
from test_markup import Reader

import fastlhp
from fastlhp.analysis.text import comparison_sentences
from fastlhp.cli.main import main
from fastlhp.results.counters import HOST_COUNTERS, VM_COUNTERS, VM_INDEX, ConfigurationResult
from fastlhp.results.file import ResultWriter
from fastlhp.view.report import report

NAME = "<img src=x onerror=hacked=1> & '\""
LABEL = "</script></style></title><script>hacked=1</script>-->]]>&lt;svg onload=hacked=1>"
STUDY = {
    "study": {"name": NAME, "seed": 3, "duration": "20ms", "warmup": "0ms", "replications": 8},
    "host": {"pcpus": 2, "frequency": "2GHz"},
    "policy": {"scheduler": {"kind": "round_robin", "slice": "1ms"}},
    "vm": [
        {"name": "guest", "vcpus": 2, "user": "40us", "hold": "2us", "lock": {"kind": "ticket", "count": 1}}
    ],
    "sweep": {
        "vm.guest.count": [1, 2, 3],
        "policy.response": [{"kind": "none"}, {"kind": "yield", "spin_threshold": "25us", "label": LABEL}],
    },
}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A file in which the hostile label spins for half as long as `none`, and both more with every VM."""
    study = fastlhp.load(STUDY)
    path = tmp_path_factory.mktemp("report") / "out.h5"
    with ResultWriter(path, study) as writer:
        for i, configuration in enumerate(study.configurations):
            rng = np.random.default_rng(i // 2)
            vm = np.zeros((study.replications, len(configuration.vms), len(VM_COUNTERS)), dtype=np.int64)
            spin = 2 * rng.integers(4 * 10**5, 5 * 10**5, vm.shape[:2])
            vm[:, :, VM_INDEX["spin_ns"]] = spin // (1 + i % 2)
            vm[:, :, VM_INDEX["acquisitions"]] = 10_000 + rng.integers(0, 10, vm.shape[:2])
            writer.write(ConfigurationResult(i, vm, np.zeros((8, len(HOST_COUNTERS)), dtype=np.int64)))
        writer.close()
    return path


@pytest.fixture(scope="module")
def page(out):
    return report(fastlhp.open(out))


@pytest.fixture(scope="module")
def read(page):
    return Reader(page)


def of(reader, tag):
    return [attributes for name, attributes in reader.tags if name == tag]


def test_sections(read):
    sections = [
        "question",
        "answer",
        "comparison",
        "figures",
        "timelines",
        "configurations",
        "certainty",
        "again",
    ]
    assert [attributes["id"] for attributes in of(read, "h2")] == sections
    assert [attributes["href"] for attributes in of(read, "a")] == [f"#{name}" for name in sections]
    assert [attributes["aria-labelledby"] for attributes in of(read, "section")] == sections
    for single in ("html", "head", "body", "main", "h1", "nav", "title", "header"):
        assert len(of(read, single)) == 1
    assert of(read, "html") == [{"lang": "en"}]
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_three_sentences(out, read):
    compared = fastlhp.analysis.compare(fastlhp.open(out))
    sentences = comparison_sentences(compared, compared.metrics[0])[:3]
    assert len(sentences) == 3 and "which is 0.5 times the" in sentences[0]
    begin = read.texts.index("The answer", read.texts.index("What is swept"))
    assert [text for text in read.texts[begin:] if text.strip()][1:4] == sentences


def test_question_and_how_to_do_it_again(out, read):
    text = "\n".join(read.texts)
    assert "round_robin(slice=1ms" in text and "lognormal" not in text
    assert "fastlhp run study.toml -o out.h5 --seed 3 --replications 8\nfastlhp rerun out.h5" in text
    assert fastlhp.open(out).attributes.study in read.texts
    assert f"fastlhp {fastlhp.__version__}" in text


def test_timelines_of_the_worst_and_the_best(out, read):
    waste = fastlhp.open(out).summary("wasted_fraction").mean
    worst = int(np.argmax(waste))
    (first,) = [text for text in read.texts if text.startswith("The worst configuration, ")]
    (second,) = [
        text for text in read.texts if text.startswith("The best configuration with the same host and VMs, ")
    ]
    # The worst is `none` with three VMs; beside it stands the other policy with three VMs.
    assert f"#{worst} (" in first and f"#{worst + 1} (" in second


def test_every_alternative_and_configuration_is_in_a_table(out, read):
    texts = read.texts
    assert texts.count("none (the baseline)") + texts.count("none") >= 3
    results = fastlhp.open(out)
    values = {row.get("data-value") for row in of(read, "td")}
    for metric in ("wasted_fraction", "throughput"):
        assert {repr(float(mean)) for mean in results.summary(metric).mean} <= values


def test_names_stay_text(page, read):
    assert of(read, "script") == [{}]
    assert "img" not in {tag for tag, _ in read.tags}
    assert not [name for _, attributes in read.tags for name in attributes if name.startswith("on")]
    # Nothing is lost either: the title, the rows of tables, the study.
    assert read.texts.count(NAME) == 1 and f"{NAME} - fastlhp report" in read.texts
    assert read.texts.count(LABEL) >= 5


def test_nothing_is_loaded(page, read):
    for _, attributes in read.tags:
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#") and attributes.get("xlink:href", "#").startswith(
            "#"
        )
    # All that is pointed to is in the page.
    targets = re.findall(r"url\(['\"]?([^)]*)\)", page)
    targets += [
        value for _, attributes in read.tags for name, value in attributes.items() if name.endswith("href")
    ]
    assert {target.removeprefix("#") for target in targets} <= {
        attributes.get("id") for _, attributes in read.tags
    }
    assert "@import" not in page
    assert not re.search("https?:", re.sub(r' xmlns(:\w+)?="[^"]*"', "", page))


def test_only_its_own_script_may_run(page):
    (policy,) = re.findall('Content-Security-Policy" content="([^"]*)"', page)
    script = page[page.rindex("<script>") + len("<script>") : page.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.replace("&#x27;", "'").split(";"))
    assert rules["default-src"] == "'none'" and rules["script-src"] == f"'sha256-{digest}'"


def test_same_results_same_page(out, page):
    assert report(fastlhp.open(out)) == page


def command(*arguments):
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def test_command(out, page, tmp_path):
    copy = tmp_path / "study.h5"
    copy.write_bytes(out.read_bytes())
    done = command(copy)
    assert done.exit_code == 0 and "study.html is written" in done.stderr and not done.stdout
    assert (tmp_path / "study.html").read_text("utf-8") == page.replace("out.h5", "study.h5")
    again = command(copy, "--no-timelines")
    assert again.exit_code == 2 and "use --force" in again.stderr
    assert command(copy, "--no-timelines", "--force").exit_code == 0
    assert 'id="timelines"' not in (tmp_path / "study.html").read_text("utf-8")
    assert sorted(os.listdir(tmp_path)) == ["study.h5", "study.html"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.h5"], "there is no file nowhere.h5"),
        ([__file__], "is not an HDF5 file, so it is no result of fastlhp"),
        (["OUT", "-o", "OUT", "--force"], "would take the place of the results"),
        (["OUT", "-o", "nowhere/report.html"], "there is no directory"),
        (["OUT", "-o", "new.html", "--by", "slice"], "'slice' is not swept; choose from: vm.guest.count"),
        (["OUT", "-o", "new.html", "--metric", "wasted"], "unknown metric 'wasted'"),
        (["OUT", "-o", "new.html", "--baseline", "gang"], "there is no alternative 'gang'"),
    ],
)
def test_bad_input(out, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = command(*[out if a == "OUT" else a for a in arguments])
    assert done.exit_code == 2 and message in done.stderr
    assert not os.listdir(tmp_path)


def test_without_matplotlib(out, tmp_path):
    code = "import sys; sys.modules['matplotlib'] = None; from fastlhp.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "report", str(out), "-o", str(tmp_path / "r.html")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "pip install 'fastlhp[report]'" in done.stderr
    assert not os.listdir(tmp_path)


def test_of_very_many_the_most_telling():
    columns = grid(
        vm__guest__count=list(range(100)), policy__guard=["none", "delay"], host__pcpus=list(range(50))
    )
    rng = np.random.default_rng(1)
    results = results_of(columns, wasted_fraction=rng.random((10_000, 1)) + rng.random((10_000, 4)) / 100)
    text = report(results, metrics=["wasted_fraction"], timelines=False)
    read = Reader(text)
    assert len(text) < 10e6
    assert len(of(read, "tr")) < 500
    assert "Ordered by wasted_fraction, 95 % intervals; the best and the worst 200 of 10,000" in read.texts
    assert "fastlhp show results.h5 --csv" in read.texts
    mean = np.sort(results.summary("wasted_fraction").mean)
    values = {row.get("data-value") for row in of(read, "td")}
    assert {repr(float(value)) for value in (*mean[:200], *mean[-200:])} <= values
    assert repr(float(mean[5000])) not in values


def test_what_went_wrong_is_told():
    columns = grid(policy__guard=["none", "delay"], vm__guest__count=[1, 2])
    results = results_of(columns, status=[0, 0, 1, 2], wasted_fraction=np.ones((4, 3)) / 8)
    text = "\n".join(Reader(report(results)).texts)
    assert "#2 (guard=delay, count=1) failed: too bad" in text and "1 of 4 configurations not run" in text
    assert "The study in the file cannot be read here" in text
    assert "They cannot be simulated again here" in text


@pytest.mark.parametrize(
    ("columns", "sentences"),
    [
        ({}, ["wasted_fraction is 0.200 ± 0.025: ", "lhp_probability is ", "throughput is "]),
        (
            {"host.pcpus": [1, 2, 4]},
            [
                "The best wasted_fraction, 0.200 ± 0.025, has configuration #0 (pcpus=1).",
                "The worst wasted_fraction, 0.400 ± 0.025, has configuration #2 (pcpus=4).",
                "host.pcpus decides wasted_fraction: ",
            ],
        ),
    ],
)
def test_without_policies(columns, sentences):
    n = max((len(labels) for labels in columns.values()), default=1)
    waste = np.linspace(0.19, 0.21, 3) + np.array([[0.1 * i] for i in range(n)])
    read = Reader(report(results_of(columns, wasted_fraction=waste)))
    begin = read.texts.index("The answer", read.texts.index("The answer") + 1)
    found = [text for text in read.texts[begin + 1 :] if text.strip()][:3]
    for text, beginning in zip(found, sentences, strict=True):
        assert text.startswith(beginning)


@pytest.fixture(scope="module")
def browser():
    with Browser() as it:
        yield it


@pytest.fixture(scope="module")
def file(page, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page, "utf-8")
    return path


COLUMN = (
    "[...document.querySelectorAll('#configurations ~ div tbody tr')].map(row => row.cells[{}].dataset.value)"
)
HEADS = "[...document.querySelectorAll('#configurations ~ div thead th')]"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1400])
def test_in_a_browser(browser, file, tmp_path, width, dark):
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(file, width=width, dark=dark)
    assert browser.evaluate("typeof hacked") == "undefined"
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    ink = browser.evaluate("getComputedStyle(document.body).color")
    light = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (paper, ink)]
    assert light[0] < 150 and light[1] > 600 if dark else light[0] > 700 and light[1] < 150
    # Figures are as wide as their letters need; narrow pages scroll them.
    assert (
        browser.evaluate("Math.min(...[...document.querySelectorAll('figure svg')].map(s => s.clientWidth))")
        > 700
    )
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000
    assert browser.complaints == []
    assert browser.requests == [file.resolve().as_uri()]


def test_sorting(browser, file):
    browser.open(file)
    number = browser.evaluate(f"{HEADS}.findIndex(head => head.textContent == 'wasted_fraction')")
    values = browser.evaluate(COLUMN.format(number))
    assert len(values) == 6 and values != sorted(values, key=float)
    browser.evaluate(f"{HEADS}[{number}].querySelector('button').click()")
    assert browser.evaluate(COLUMN.format(number)) == sorted(values, key=float)
    assert browser.evaluate(f"{HEADS}.map(head => head.ariaSort)").count("ascending") == 1
    # By the keyboard, and the other way round.
    browser.evaluate(f"{HEADS}[{number}].querySelector('button').focus()")
    browser.press("Enter")
    assert browser.evaluate(COLUMN.format(number)) == sorted(values, key=float, reverse=True)
    assert browser.evaluate(f"{HEADS}[{number}].ariaSort") == "descending"
    # Another column, of texts.
    browser.evaluate(f"{HEADS}[2].querySelector('button').click()")
    labels = browser.evaluate(COLUMN.format(2).replace(".dataset.value", ".textContent"))
    assert labels[:3] == [LABEL] * 3 and labels[3:] == ["none"] * 3
    assert browser.evaluate(f"{HEADS}.map(head => head.ariaSort).filter(Boolean)") == ["ascending"]


def test_the_policy_keeps_foreign_scripts_out(browser, page, tmp_path):
    """Even if a name got in as markup."""
    broken = tmp_path / "broken.html"
    inside = "<script>hacked = 1</script><img src=x onerror='hacked = 1'>"
    broken.write_text(page.replace("<main>", f"<main>{inside}"), "utf-8")
    browser.open(broken)
    assert browser.evaluate("typeof hacked") == "undefined"
    assert len(browser.complaints) >= 2
