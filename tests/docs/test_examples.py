"""Every example of the README and the documentation is run.

Blocks of a page are run in their order, in one temporary folder: lines of shell that begin with ``fastlhp``, Python, and
studies in TOML, whole ones or parts that are put into the example study. A block of text after one of shell, under the same
heading, shows some of its output: the lines must be there, but for their numbers; after a study, it shows what ``fastlhp check`` says of it.
What cannot be run says so: a fence with ``no-run`` after its language, or ``<!-- no-run -->`` before a block.
"""

import glob
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

import fastlhp
from fastlhp.cli.main import main
from fastlhp.data_files import data_path
from fastlhp.model.toml import to_toml
from fastlhp.reference import DOCS

README = Path(__file__).resolve().parents[2] / "README.md"
PAGES = [README, *sorted(DOCS.glob("*.md"))]

# All its times are exponential, so that `fastlhp exact` takes it too.
SMALL = """
[study]
duration = "300ms"
replications = 4
[host]
pcpus = 1
frequency = "2GHz"
[policy]
scheduler = { kind = "round_robin", slice = { exponential = "1ms" } }
[[vm]]
name = "guest"
vcpus = 2
lock = { kind = "ticket" }
user = { exponential = "40us" }
hold = { exponential = "5us" }
[sweep]
"vm.guest.lock.kind" = ["test_and_set", "ticket"]
"policy.guard" = [{ kind = "none" }, { kind = "delay", cap = { exponential = "1ms" } }]
"vm.guest.vcpus" = [1, 2, 3]
"policy.scheduler.slice.exponential" = ["1ms", "2ms"]
"""


@dataclass
class Block:
    """A block of code: under which heading, its language, if it is run, and the file that it is, if a comment says so."""

    section: int
    language: str
    text: str
    is_run: bool
    file: str | None


def blocks(page: str):
    """Yield the blocks of a page, fenced and indented ones."""
    pattern = re.compile(
        r"^(?:<!-- (?P<mark>[^\n]*?) -->\n+)?"
        r"(?:```(?P<info>[^\n]*)\n(?P<fenced>.*?)^```$|(?<=\n\n)(?P<indented>(?: {4}[^\n]*\n(?:\n(?= {4}))?)+))",
        re.MULTILINE | re.DOTALL,
    )
    for match in pattern.finditer(page):
        mark, info = match["mark"] or "", (match["info"] or "").split()
        text = match["fenced"]
        if text is None:
            text = re.sub(r"^ {4}", "", match["indented"], flags=re.MULTILINE)
            info = ["sh"] if re.match(r"(fastlhp|python|pip|mpiexec|bash) ", text) else ["text"]
        is_run = "no-run" not in info and not mark.startswith("no-run")
        section = len(re.findall(r"^#", page[: match.start()], re.MULTILINE))
        yield Block(section, info[0] if info else "", text, is_run, mark if mark.endswith(".py") else None)


def example() -> dict:
    return tomllib.loads(data_path("example_study.toml").read_text(encoding="utf-8"))


def fastlhp_says(arguments: list[str]) -> str:
    said = CliRunner(env={"COLUMNS": "200"}).invoke(main, arguments)
    assert said.exit_code == 0, (arguments, said.output, said.exception)
    return said.stdout


def run_shell(text: str) -> str:
    """Run the lines of a block and return what they print."""
    printed = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        words = shlex.split(line, comments=True)
        assert words[0] == "fastlhp", f"not run, and not marked with no-run: {line}"
        words, _, target = (words[1:], "", "") if ">" not in words else (words[1:-2], ">", words[-1])
        arguments = [name for word in words for name in (sorted(glob.glob(word)) if "*" in word else [word])]
        for path in (path for suffix in ("html", "png", "svg") for path in Path().glob(f"*.{suffix}")):
            path.unlink()  # each command is an example of its own, and nothing is overwritten
        if "-o" in arguments and "--resume" not in arguments:
            Path(arguments[arguments.index("-o") + 1]).unlink(missing_ok=True)
        said = fastlhp_says(arguments)
        if target:
            Path(target).write_text(said, encoding="utf-8")
        printed += said
    return printed


def put_into(base: dict, part: dict) -> dict:
    """Return the base with the tables of a part in place of its own, or keys within them."""
    merged = {**base, **part}
    for name in ("study", "host", "policy"):
        merged[name] = {**base[name], **part.get(name, {})}
    if "vm" in part:
        merged["vm"] = [{**base["vm"][0], **vm} for vm in part["vm"]]
    return merged


def check_study(text: str) -> str:
    """Check a study, or part of one, and return what `fastlhp check` prints."""
    tree = tomllib.loads(text)
    if not {"study", "host", "policy", "vm"} <= tree.keys():
        base = example()
        del base["sweep"]
        # Without parameters that a part would have to take away before it sweeps the kind.
        base["policy"]["scheduler"] = {"kind": "round_robin"}
        base["vm"][0]["hold"] = {"exponential": "2us"}
        text = to_toml(put_into(base, tree))
    Path("block.toml").write_text(text, encoding="utf-8")
    return fastlhp_says(["check", "block.toml"])


def lines_of(text: str, numbers: bool) -> list[str]:
    """Return the lines of an output without what varies: white space and, unless they matter, numbers."""
    text = text if numbers else re.sub(r"[-+]?\d[\d.,]*(e[-+]?\d+)?", "0", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def assert_shown(shown: str, output: str, numbers: bool) -> None:
    """Assert that all lines that are shown are in the output, in their order."""
    rest = iter(lines_of(output, numbers))
    for line in lines_of(shown, numbers):
        assert line in rest, f"not in the output, or not in this order: {line}\n{output}"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Make a folder with results of the example study, shortened, and with shares."""
    folder = tmp_path_factory.mktemp("results")
    tree = example()
    tree["study"] |= {"duration": "250ms", "warmup": "0s", "replications": 4}
    (folder / "example.toml").write_text(to_toml(tree), encoding="utf-8")
    (folder / "small.toml").write_text(SMALL, encoding="utf-8")
    fastlhp_says(["run", f"{folder}/example.toml", "-o", f"{folder}/example.h5", "--quiet"])
    for study, n in (("example", 2), ("small", 6)):
        for i in range(1, n + 1):
            fastlhp_says(
                [
                    "run",
                    f"{folder}/{study}.toml",
                    "-o",
                    f"{folder}/{study}-{i}.h5",
                    "--shard",
                    f"{i}/{n}",
                    "--quiet",
                ]
            )
    return folder


def prepare(page: str, results: Path) -> None:
    """Put what a page takes for granted into the current folder."""
    if page == "tutorial":
        return
    Path("data").mkdir()
    Path("data/example_study.toml").write_bytes((results / "example.toml").read_bytes())
    Path("study.toml").write_text(SMALL, encoding="utf-8")
    Path("holds.csv").write_text("hold_ns\n1000\n2000\n5000\n", encoding="utf-8")
    for name in ("study.h5", "results.h5", "overcommit.h5"):
        Path(name).write_bytes((results / "example.h5").read_bytes())
    for path in results.glob("small-*.h5" if page == "runs" else "example-*.h5"):
        Path(f"part-{path.stem.rpartition('-')[2]}.h5").write_bytes(path.read_bytes())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page(path, results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare(path.stem, results)
    found = list(blocks(path.read_text(encoding="utf-8")))
    for block in found:
        if block.file is not None:
            Path(block.file).write_text(block.text, encoding="utf-8")
    names = {"fastlhp": fastlhp}
    output, numbers, section = None, False, 0
    for block in found:
        if block.section != section:
            output, section = None, block.section
        if not block.is_run or block.file is not None:
            output = None
        elif block.language == "sh":
            output, numbers = run_shell(block.text), False
        elif block.language == "toml":
            output, numbers = check_study(block.text), True
        elif block.language == "python":
            if "xarray" in block.text:
                names["xarray"] = pytest.importorskip("xarray")
            exec(compile(block.text, f"{path.name}", "exec"), names)
            output = None
        else:
            assert block.language == "text", f"{path.name}: {block.language or 'a fence without a language'}"
            if output is not None:
                assert_shown(block.text, output, numbers)
            output = None


def test_blocks():
    """No example is overlooked."""
    page = "a\n\n    fastlhp show a\n\n    fastlhp show b  # c\n\nb\n\n<!-- no-run -->\n\n    mpiexec x\n\n```sh no-run\nbash\n```\n"
    page += "- item\n\n<!-- x.py -->\n```python\npass\n```\n\n    configurations  1\n"
    assert [(b.language, b.text, b.is_run, b.file) for b in blocks(page)] == [
        ("sh", "fastlhp show a\n\nfastlhp show b  # c\n", True, None),
        ("sh", "mpiexec x\n", False, None),
        ("sh", "bash\n", False, None),
        ("python", "pass\n", True, "x.py"),
        ("text", "configurations  1\n", True, None),
    ]
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        shell = "".join(block.text for block in blocks(text) if block.language == "sh")
        for command in re.findall(r"^    (fastlhp [a-z].*)", text, re.MULTILINE):
            assert command in shell
        assert text.count("\n```") == 2 * sum(1 for _ in re.finditer(r"^```.*?^```$", text, re.M | re.S))


def test_differences_are_found():
    assert_shown("a  1\nb 2\n", "a 7\nx\nb 3 \n", numbers=False)
    for shown, numbers in (("b\na\n", False), ("a 2\n", True), ("c\n", False)):
        with pytest.raises(AssertionError):
            assert_shown(shown, "a 1\nb\n", numbers)


@pytest.fixture(autouse=True)
def forget_own_policies():
    yield
    from fastlhp import policies

    policies._own.clear()
