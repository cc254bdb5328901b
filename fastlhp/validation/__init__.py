"""Predictions beside references: closed forms, exact chains, measurements on a real host, published results.

``fastlhp validate`` runs the parts listed here. A part is a module with

- ``TITLE``, what its predictions are compared with;
- ``ALLOWED``, how many of its cases may miss before it fails;
- ``cases(quick)``, which yields each `Case`: the studies to run, and a function that judges their results.

What a verdict means and the latest table: ``docs/validation.md``.
"""

__all__ = ["PARTS"]

PARTS = {
    "a": "fastlhp.validation.closed_forms",
    "b": "fastlhp.validation.chains",
    "c": "fastlhp.validation.real_host",
    "d": "fastlhp.validation.published",
}
"""The module of each part, by the letter that chooses it."""
