"""``fastlhp slurm``: a study as a job array."""

import click

from fastlhp.errors import FastlhpError, StudyError

__all__ = ["command"]

_BAD_INPUT = 2


@click.command()
@click.argument("study", metavar="STUDY.toml", type=click.Path())
@click.argument("options", metavar="[-- SBATCH OPTIONS]", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "-o", "--output", metavar="OUT.h5", type=click.Path(), required=True, help="The result file in the end."
)
@click.option("--tasks", type=click.IntRange(min=1), required=True, help="Shares that run by themselves.")
@click.option(
    "--time", metavar="LIMIT", required=True, help="Of each task, as Slurm has it: 90, 1:30:00, 1-12."
)
@click.option("--cpus", type=click.IntRange(min=1), default=1, show_default=True, help="Of each task.")
@click.option("--replications", type=click.IntRange(min=1), help="Instead of the study's.")
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), help="Instead of the study's.")
@click.option("--force", is_flag=True, help="Overwrite an existing script.")
@click.pass_context
def command(
    context: click.Context,
    study: str,
    options: tuple[str, ...],
    output: str,
    tasks: int,
    time: str,
    cpus: int,
    replications: int | None,
    seed: int | None,
    force: bool,
) -> None:
    """Write OUT.h5.slurm, a script that runs a study as a job array of Slurm and merges the results.

    What follows -- goes to sbatch: fastlhp slurm study.toml -o out.h5 --tasks 6 --time 90 -- --partition=long
    """
    from fastlhp.model.study import load
    from fastlhp.run.slurm import job_script

    script = f"{output}.slurm"
    try:
        n = load(study).with_(replications=replications, seed=seed).n_configurations
        if tasks > n:
            raise FastlhpError(f"the study has {n} configurations, too few for {tasks} tasks")
        given = {"--replications": replications, "--seed": seed}
        arguments = [word for key, value in given.items() if value is not None for word in (key, str(value))]
        text = job_script(
            study, output, script, tasks=tasks, time=time, cpus=cpus, arguments=arguments, options=options
        )
        with open(script, "w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except StudyError:
        raise
    except FileExistsError:
        click.echo(f"fastlhp: {script} exists; use --force to overwrite it", err=True)
        context.exit(_BAD_INPUT)
    except (FastlhpError, OSError) as error:
        click.echo(f"fastlhp: {error}", err=True)
        context.exit(_BAD_INPUT)
    click.echo(f"bash {script}")
