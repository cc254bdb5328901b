"""A job array on a real Slurm: one node on the loopback interface, of this test alone, without systemd."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from studies import PROGRAM, Hold, environment, n_shards, prepare

from fastlhp.cli.main import main
from fastlhp.run.store import survey

DAEMONS = ("munged", "slurmctld", "slurmd")

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
MpiDefault=none
ReturnToService=2
KillWait=5
MinJobAge=3600
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Start Slurm; the value is the environment in which its commands find it."""
    missing = [name for name in DAEMONS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing or os.geteuid() != 0:
        pytest.skip("needs root, and Slurm: apt-get install slurm-wlm munge")
    # The path of a socket has a limit.
    folder = Path(f"/tmp/slurm-{os.getpid()}-{secrets.token_hex(3)}")
    for name in ("", "state", "spool"):
        (folder / name).mkdir(mode=0o755)
    host = socket.gethostname().partition(".")[0]
    text = CONFIGURATION.format(host=host, folder=folder, ports=free_ports(2), cpus=os.cpu_count())
    (folder / "slurm.conf").write_text(text)
    key = folder / "key"
    key.touch(mode=0o400)
    key.write_bytes(secrets.token_bytes(128))
    found = environment(SLURM_CONF=str(folder / "slurm.conf"), PATH=f"{os.environ['PATH']}:/usr/sbin")
    munged = [
        "munged",
        f"--key-file={key}",
        f"--socket={folder}/munge.socket",
        f"--pid-file={folder}/munged.pid",
    ]
    munged += [f"--log-file={folder}/munged.log", f"--seed-file={folder}/seed"]
    try:
        for command in (munged, ["slurmctld"], ["slurmd", "-N", host]):
            subprocess.run(command, env=found, check=True, timeout=30, capture_output=True)
        wait_for(lambda: ask(found, "sinfo", "-h", "-o", "%T") == "idle", 30)
        yield found
    finally:
        subprocess.run(["scancel", "--user=root"], env=found, check=False, capture_output=True, timeout=30)
        for name in reversed(DAEMONS):
            with contextlib.suppress(OSError, ValueError):
                pid = int((folder / f"{name}.pid").read_text())
                os.kill(pid, signal.SIGTERM)
                wait_for(lambda pid=pid: not os.path.exists(f"/proc/{pid}"), 20)
        shutil.rmtree(folder, ignore_errors=True)


def ask(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.strip()


def wait_for(condition, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


class Array:
    """A study as a job array whose tasks stand still half-way until they are released; the same study run at once."""

    def __init__(self, folder: Path, slurm: dict[str, str], tasks: int) -> None:
        self.whole, self.out, self.script = (folder / name for name in ("whole.h5", "out.h5", "out.h5.slurm"))
        command = prepare(folder)
        subprocess.run([*command, "-o", str(self.whole)], env=slurm, check=True, timeout=240)
        # Python imports it at its start: tasks run fastlhp itself.
        (folder / "site").mkdir()
        load = f"import sys\nsys.path.append({str(PROGRAM.parent)!r})\nimport program\n"
        (folder / "site" / "sitecustomize.py").write_text(load)
        self.hold = Hold(folder)
        paths = os.pathsep.join([str(folder / "site"), slurm["PYTHONPATH"]])
        self.slurm = slurm | {"PYTHONPATH": paths, "FASTLHP_TEST_HOLD": str(self.hold.path)}
        arguments = ["slurm", str(folder / "study.toml"), "-o", str(self.out), "--time", "10"]
        written = CliRunner().invoke(main, [*arguments, "--tasks", str(tasks)])
        assert (written.exit_code, written.stdout) == (0, f"bash {self.script}\n"), written.stderr

    def submit(self) -> str:
        """Submit it and return the number of the array."""
        done = subprocess.run(
            ["bash", str(self.script)],
            env=self.slurm,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.partition(";")[0].removeprefix("submitted as ").split(", ")[1]

    def part(self, task: str) -> Path:
        """Return the result file of a task."""
        return Path(f"{self.out}.parts") / f"part-{task}.h5"

    def half_way(self, array: str) -> str:
        """Wait until a task stands still, and return its number."""
        query = ("squeue", "-h", "-r", "-j", array, "-t", "RUNNING", "-o", "%K")
        wait_for(lambda: ask(self.slurm, *query) != "", 120)
        task = ask(self.slurm, *query).split()[0]
        wait_for(lambda: n_shards(self.part(task)) == 2, 120)
        return task

    def wait_until_left(self, task: str) -> None:
        """Wait until nobody is at work in the folder of a task."""
        wait_for(lambda: not survey(f"{self.part(task)}.partial").is_running, 60)

    def end(self) -> None:
        """Wait until nothing is queued or running."""
        wait_for(lambda: ask(self.slurm, "squeue", "-h") == "", 240)

    def is_the_study(self) -> bool:
        """Whether the merged file has the same bytes as that of the study run at once."""
        return self.out.read_bytes() == self.whole.read_bytes()


def test_a_job_array(tmp_path: Path, slurm: dict[str, str]) -> None:
    """Six tasks, one of which is cancelled: the merge says so, and submitting again goes on."""
    job = Array(tmp_path, slurm, tasks=6)
    array = job.submit()
    task = job.half_way(array)
    ask(slurm, "scancel", f"{array}_{task}")
    job.wait_until_left(task)
    job.hold.release()
    job.end()
    logs = {path.name: path.read_text() for path in (tmp_path / "out.h5.parts").glob("*.log")}
    assert not job.out.exists()
    assert f"share {task} is not finished: bash" in "".join(logs.values()), logs
    assert len(list((tmp_path / "out.h5.parts").glob("part-?.h5"))) >= 5
    again = job.submit()
    assert ask(slurm, "scontrol", "show", "job", again).count("ArrayTaskId=") == 1
    job.end()
    assert job.is_the_study()


@pytest.mark.nightly
def test_a_task_that_is_requeued_goes_on(tmp_path: Path, slurm: dict[str, str]) -> None:
    """As after the loss of its node: killed when it has written shards, begun again by Slurm, with the same bytes."""
    job = Array(tmp_path, slurm, tasks=2)
    array = job.submit()
    task = job.half_way(array)
    folder = Path(f"{job.part(task)}.partial")
    done = subprocess.run(
        ["scontrol", "requeue", f"{array}_{task}"], env=slurm, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    wait_for(lambda: task not in ask(slurm, "squeue", "-h", "-r", "-t", "RUNNING", "-o", "%K").split(), 60)
    kept = {path.name for path in folder.glob("shard-*")}
    assert kept
    wait_for(lambda: task in ask(slurm, "squeue", "-h", "-r", "-t", "RUNNING", "-o", "%K").split(), 180)
    wait_for(lambda: len({path.name for path in folder.glob("shard-*")} - kept) > 0, 120)
    job.hold.release()
    job.end()
    assert job.is_the_study()


def test_the_script(tmp_path: Path) -> None:
    """It is valid, whatever the paths are, takes more options, and is not overwritten by chance."""
    prepare(tmp_path)
    out = tmp_path / "it's a $HOME.h5"
    arguments = ["slurm", str(tmp_path / "study.toml"), "-o", str(out), "--tasks", "3", "--time", "1-12"]
    arguments += ["--cpus", "8", "--seed", "5"]
    done = CliRunner().invoke(main, [*arguments, "--", "--partition=long", "--mem=4G"])
    assert done.exit_code == 0, done.output
    text = Path(f"{out}.slurm").read_text()
    assert "common=(--partition=long --mem=4G)" in text and "--cpus-per-task=8 --time=1-12" in text
    assert text.count(" --seed 5\n") == 1
    subprocess.run(["bash", "-n", f"{out}.slurm"], check=True)
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 2 and "exists; use --force" in again.stderr
    for wrong, said in (
        (["--time", "soon"], "--time must be"),
        (["--tasks", "37"], "36 configurations, too few"),
    ):
        done = CliRunner().invoke(main, [*arguments, "--force", *wrong])
        assert done.exit_code == 2 and said in done.stderr
