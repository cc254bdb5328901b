"""``fastlhp compile``: make the machine code before it is needed."""

import time

import click

__all__ = ["command"]


@click.command(
    epilog="Example, before a job array: FASTLHP_CACHE_DIR=$PWD/cache fastlhp compile; the jobs set the variable too."
)
@click.argument("study", metavar="[STUDY.toml]", type=click.Path(), required=False)
def command(study: str | None) -> None:
    """Compile the simulator and keep the result, so that no later run has to.

    The first run on a machine compiles for some ten seconds. Batch jobs that start together would all do so at
    once; with this command one does it for all. What is kept lies in the folder FASTLHP_CACHE_DIR, by default in the
    user's cache folder, and serves every process with the same sources, Python, Numba and CPU. The sources are also
    the policies of your own that a study names.

    With a study, code is also made for configurations with the same policies and sizes, of which there is a minute's
    work or more. It gives the same results, and is up to a fifth faster. That takes two or three seconds for each
    combination; a run that takes minutes makes what it lacks while it goes on.
    """
    from fastlhp.engine.jit import cache_directory
    from fastlhp.errors import FastlhpError
    from fastlhp.model.study import load
    from fastlhp.run.execute import compile_kernel

    loaded = load(study) if study is not None else None
    folder = cache_directory()
    if folder is None:
        raise FastlhpError("there is no folder to keep the compiled code in; set FASTLHP_CACHE_DIR to one")
    before = {path.name for path in folder.iterdir()}
    started = time.perf_counter()
    compile_kernel()
    if loaded is not None:
        from fastlhp.engine.tailoring import MOST_KEPT
        from fastlhp.run.tailor import is_on, tailor_for

        n_made, n = tailor_for(loaded, report=_report)
        why = "" if n_made == n else "; of the others there is too little to do"
        if n > MOST_KEPT:
            why += f", or they are too many: there is room for {MOST_KEPT}"
        found = f"code for {n_made} of {n} combinations of policies and sizes{why}"
        click.echo(found if is_on() else "no code for the study: FASTLHP_TAILOR is 0", err=True)
    new = {path.name for path in folder.iterdir()} - before
    took = time.perf_counter() - started
    click.echo(f"{'compiled' if new else 'already compiled'} ({took:.1f} s): {folder}")


def _report(done: int, n: int) -> None:
    if done % 10 == 0 and done > 0:
        click.echo(f"{done} of {n} combinations", err=True)
