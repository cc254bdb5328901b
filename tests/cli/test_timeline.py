"""``fastlhp timeline``."""

import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import fastlhp
from fastlhp.cli.main import main
from fastlhp.data_files import data_path, toml_names

PAGE = Path(fastlhp.__file__).parent / "docs" / "timelines.md"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def timeline(*arguments: str) -> Result:
    done = CliRunner().invoke(main, ["timeline", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def test_the_list() -> None:
    done = timeline("--list")
    listed = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert [name for name, _ in listed] == list(toml_names("timelines"))
    assert dict(listed)["overcommitment"].startswith("Overcommitment: three VMs share two pCPUs")


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_picture(folder: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    done = timeline("overcommitment", "-o", f"a.{suffix}")
    assert (done.exit_code, done.stdout) == (0, f"a.{suffix}\n")
    begins = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    assert (folder / f"a.{suffix}").read_bytes().startswith(begins)


def test_it_is_called_as_the_study(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    done = timeline(str(data_path("timelines", "overcommitment.toml")), "--window", "0ms:1ms")
    assert (done.exit_code, done.stdout) == (0, "overcommitment.png\n")
    again = timeline("overcommitment", "--window", "0ms:1ms")
    assert again.exit_code == 2
    assert (
        again.stderr
        == "fastlhp: overcommitment.png exists; give another name, or use --force (force=True) to overwrite it\n"
    )
    assert timeline("overcommitment", "--window", "0ms:1ms", "--force").exit_code == 0


def test_a_trace_needs_no_matplotlib(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    example = str(data_path("example_study.toml"))
    done = timeline(
        example, "--configuration", "47", "--replication", "63", "--window", "1s:1.001s", "-o", "t.json"
    )
    assert (done.exit_code, done.stdout, done.stderr) == (0, "t.json\n", "")
    content = json.loads((folder / "t.json").read_text())
    assert content["otherData"] | {"labels": None} == {
        "fastlhp": content["otherData"]["fastlhp"],
        "study": "overcommit-and-remedies",
        "configuration": 47,
        "labels": None,
        "replication": 63,
        "seed": 1,
    }
    assert content["otherData"]["labels"]["vm.guest.count"] == 4
    times = [event["ts"] for event in content["traceEvents"] if event["ph"] == "X"]
    assert min(times) == 1e6 and max(times) < 1.001e6


def test_a_picture_needs_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = timeline("overcommitment")
    assert done.exit_code == 2
    assert "matplotlib" in done.stderr and "pip install 'fastlhp[report]'" in done.stderr
    assert list(folder.iterdir()) == []


def test_a_file_comes_before_a_ready_study_of_its_name(folder: Path) -> None:
    (folder / "overcommitment").write_text("[study]\nname = 3\n")
    done = timeline("overcommitment", "-o", "a.json")
    assert done.exit_code == 2 and "study.name" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a study file, or the name of a ready study"),
        (["nonsense.toml"], "nonsense.toml: found no such file"),
        (["overcommitment", "-o", "a.gif"], "a.gif must end in .png, .svg, .pdf or .json"),
        (["overcommitment", "-o", "no/a.json"], "there is no directory"),
        (["overcommitment", "-o", "a.json", "--configuration", "1"], "configurations 0 to 0, found 1"),
        (["overcommitment", "-o", "a.json", "--replication", "-1"], "replications 0 to 0, found -1"),
        (["overcommitment", "-o", "a.json", "--window", "1:2"], "two durations with units"),
        (["overcommitment", "-o", "a.json", "--window", "1ms"], "two durations with units"),
        (["overcommitment", "-o", "a.json", "--window", "1ms:2ms:3ms"], "two durations with units"),
        (["overcommitment", "-o", "a.json", "--window", "2ms:1ms"], "begins before it ends"),
        (["overcommitment", "-o", "a.json", "--window", "1ms:1s"], "within 0ns:90ms"),
    ],
)
def test_what_cannot_be_done(folder: Path, arguments: list[str], message: str) -> None:
    done = timeline(*arguments)
    assert done.exit_code == 2 and message in done.stderr and done.stdout == ""
    assert list(folder.iterdir()) == []


def test_the_examples_of_its_page(folder: Path) -> None:
    """Commands draw every ready study, and the Python code runs in the folder of the examples."""
    pytest.importorskip("matplotlib")
    text = PAGE.read_text(encoding="utf-8")
    (commands,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in commands.splitlines():
        program, command, *arguments = line.split()
        assert (program, command, timeline(*arguments).exit_code) == ("fastlhp", "timeline", 0), line
    assert {path.name for path in folder.iterdir()} == {f"{name}.png" for name in toml_names("timelines")}
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (folder / "data").mkdir()
    (folder / "data" / "example_study.toml").write_bytes(data_path("example_study.toml").read_bytes())
    names: dict[str, object] = {}
    exec(code, names)
    trace = names["trace"]
    assert trace.totals()["spin_lwp_ns"].shape == (4,) and len(trace.vcpu_spans(3)) > 0
    assert (trace.begin_ns, trace.end_ns) == (200_000_000, 210_000_000)


def test_its_page_names_every_ready_study() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"fastlhp timeline {name}\n" in page for name in toml_names("timelines"))
