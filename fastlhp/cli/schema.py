"""``fastlhp schema``: the JSON schema of study files."""

import click

__all__ = ["command"]


@click.command()
def command() -> None:
    """Print the JSON schema of study files, with which editors complete and check them.

    fastlhp schema > study.schema.json; then the line "#:schema ./study.schema.json" at the beginning of a study.
    """
    import json

    from fastlhp.model.schema import study_schema

    click.echo(json.dumps(study_schema(), indent=1))
