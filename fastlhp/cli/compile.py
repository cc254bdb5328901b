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

    The first run on a machine compiles for some twenty seconds. Batch jobs that start together would all do so at
    once; with this command one does it for all. What is kept lies in the folder FASTLHP_CACHE_DIR, by default in the
    user's cache folder, and serves every process with the same sources, Python, Numba and CPU. The sources are also
    the policies of your own that a study names.
    """
    from fastlhp.engine.jit import cache_directory
    from fastlhp.errors import FastlhpError
    from fastlhp.model.study import load
    from fastlhp.run.execute import compile_kernel

    if study is not None:
        load(study)
    folder = cache_directory()
    if folder is None:
        raise FastlhpError("there is no folder to keep the compiled code in; set FASTLHP_CACHE_DIR to one")
    before = {path.name for path in folder.iterdir()}
    started = time.perf_counter()
    compile_kernel()
    new = {path.name for path in folder.iterdir()} - before
    took = time.perf_counter() - started
    click.echo(f"{'compiled' if new else 'already compiled'} ({took:.1f} s): {folder}")
