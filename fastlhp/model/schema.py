"""The JSON schema of study files, for editors; derived from the forms that check them.

It refuses nothing that `fastlhp check` accepts, but for tables below the top level that are incomplete or wrong as they
stand because a sweep replaces a part of them. What takes a look at several keys (which policies go together, weights
and the number of locks), and the values of a sweep, is left to `check`.
"""

from collections.abc import Mapping
from typing import Any

from fastlhp.model.described import field_texts
from fastlhp.model.design import RANGE_KEYS, SCALES, Design
from fastlhp.model.distributions import TABLE_FORMS
from fastlhp.model.host import HostForm
from fastlhp.model.plan import StudyForm
from fastlhp.model.precision import Target
from fastlhp.model.presets import preset, preset_names
from fastlhp.model.profiles import profile, profile_names
from fastlhp.model.units import DURATION_HELP, DURATION_PATTERN, FREQUENCY_HELP, FREQUENCY_PATTERN
from fastlhp.model.validation import Form, accepted_by
from fastlhp.model.vm import HaltForm, VmForm
from fastlhp.policies import FAMILIES, kinds

__all__ = ["study_schema"]

_Schema = dict[str, Any]


def study_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a study file."""
    families = [family for family in FAMILIES if family != "lock"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A study of fastlhp",
        "type": "object",
        "properties": {
            "study": _table(StudyForm, design=_required(Design), precision=_one_or_more(_target())),
            "host": _table(HostForm),
            "policy": _closed(
                "What decides who runs: a preset, or a scheduler, a guard and a response.",
                preset=_named(
                    "A real system; what stands beside it replaces a part of it.", preset_names(), preset
                ),
                **{family: {"$ref": f"#/$defs/{family}"} for family in families},
            ),
            "vm": {
                "description": "Groups of equal VMs.",
                "type": "array",
                "minItems": 1,
                "items": _table(
                    VmForm,
                    lock={"$ref": "#/$defs/lock"},
                    halt=_required(HaltForm),
                    profile=_named(field_texts(VmForm)["profile"], profile_names(), profile),
                ),
            },
            "sweep": _sweep(),
        },
        "required": ["vm"],
        "additionalProperties": False,
        "allOf": [_if_missing("sweep", _complete())],
        "$defs": {
            "duration": _text(DURATION_HELP, DURATION_PATTERN),
            "frequency": _text(FREQUENCY_HELP, FREQUENCY_PATTERN),
            "distribution": {"anyOf": [{"$ref": "#/$defs/duration"}, _distribution_table()]},
            **{family: _policy(family) for family in FAMILIES},
            "swept": _swept("swept", _range()),
            "zipped": _swept("zipped"),
        },
    }


def _complete() -> _Schema:
    """Return what must be there if no sweep can bring it."""
    needed = {
        name: _needed(form) for name, form in (("study", StudyForm), ("host", HostForm), ("vm", VmForm))
    }
    from_profile = [name for name in needed["vm"] if name in ("user", "hold")]
    always = [name for name in needed["vm"] if name not in (*from_profile, "name", "lock")]
    return {
        "required": ["study", "host", "policy"],
        "properties": {
            "study": {"required": [name for name in needed["study"] if name != "name"]},
            "host": {"required": needed["host"]},
            "policy": {"anyOf": [{"required": ["preset"]}, {"required": ["scheduler"]}]},
            "vm": {"items": {"required": always, **_if_missing("profile", {"required": from_profile})}},
        },
    }


def _needed(form: type[Form]) -> list[str]:
    return [name for name, field in form.model_fields.items() if field.is_required()]


def _required(form: type[Form]) -> _Schema:
    return {**_table(form), "required": _needed(form)}


def _if_missing(key: str, then: _Schema) -> _Schema:
    return {"if": {"not": {"required": [key]}}, "then": then}


def _closed(description: str, /, **properties: _Schema) -> _Schema:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": False,
    }


def _text(description: str, pattern: str) -> _Schema:
    return {"type": "string", "description": description, "pattern": pattern}


def _named(description: str, names: tuple[str, ...], describe: Any) -> _Schema:
    choices = "; ".join(f"{name}: {describe(name)['description']}" for name in names)
    return {"description": f"{description} {choices}", "enum": list(names)}


def _table(form: type[Form], /, **replaced: _Schema) -> _Schema:
    """Return the schema of a table without what it requires."""
    texts = field_texts(form)
    generated = form.model_json_schema()["properties"]
    properties = {}
    for name, field in form.model_fields.items():
        schema = {**_mended(generated[name]), **replaced.get(name, {})}
        accepted = accepted_by(field)
        if "description" not in replaced.get(name, {}):
            schema["description"] = f"{texts.get(name, '')} Accepted: {accepted}.".strip()
        properties[name] = schema
    return _closed((form.__doc__ or "").partition("\n")[0].replace("``", ""), **properties)


def _mended(schema: Any) -> Any:
    """Return a schema of pydantic's with fastlhp's formats, and without null, which TOML does not have."""
    if isinstance(schema, list):
        return [_mended(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    mended = {key: _mended(item) for key, item in schema.items() if key not in ("title", "format")}
    if "format" in schema:
        mended["$ref"] = f"#/$defs/{schema['format']}"
    if mended.get("default", ...) in (None, []):
        del mended["default"]
    if {"type": "null"} in mended.get("anyOf", []):
        (only,) = (item for item in mended.pop("anyOf") if item != {"type": "null"})
        mended |= only
    return mended


def _one_or_more(table: _Schema) -> _Schema:
    return {"anyOf": [table, {"type": "array", "minItems": 1, "items": table}]}


def _target() -> _Schema:
    return {
        **_required(Target),
        "anyOf": [{"required": ["relative"]}, {"required": ["absolute"]}],
    }


def _distribution_table() -> _Schema:
    duration = {"$ref": "#/$defs/duration"}
    forms = {kind: _required(form) for kind, form in TABLE_FORMS.items()}
    forms["empirical"]["oneOf"] = [{"required": ["samples"]}, {"required": ["file", "column"]}]
    table = _closed(
        "A random time: a table with one key.",
        exponential={"description": "Its mean.", **duration},
        uniform={
            "description": "Low and high.",
            "type": "array",
            "items": duration,
            "minItems": 2,
            "maxItems": 2,
        },
        **forms,
    )
    return {**table, "minProperties": 1, "maxProperties": 1}


def _policy(family: str) -> _Schema:
    """Return the schema of a policy's table: that of its kind; without a kind it changes parameters of a preset's."""
    classes = kinds(family)
    tables = {kind: _table(cls) for kind, cls in classes.items()}
    anything: _Schema = {}
    for table in tables.values():
        for name, schema in table["properties"].items():
            anything.setdefault(name, {"anyOf": []})["anyOf"].append(schema)
    own = {"type": "string", "pattern": r"\.py$"}
    what = " ".join(f"{kind}: {cls.summary()}" for kind, cls in classes.items())
    for kind, table in tables.items():
        table["properties"]["kind"] = {"const": kind}
    return {
        "type": "object",
        "properties": {
            "kind": {
                "description": f"{what} Or a Python file of your own.",
                "anyOf": [{"enum": list(classes)}, own],
            },
            **anything,
        },
        "allOf": [
            *(
                {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": table}
                for kind, table in tables.items()
            ),
            _if_missing("kind", {"propertyNames": {"enum": list(anything)}}),
        ],
    }


def _sweep() -> _Schema:
    return {
        "description": "Paths of the study with the values that they take in turn; all combinations are run.",
        "properties": {
            "zip": {
                "description": "Lists that advance together.",
                **_one_or_more({"minProperties": 1, **_paths("zipped")}),
            },
            "where": {
                "description": "Conditions that a combination must satisfy to be run.",
                "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            },
            "drop_impossible": {
                "description": "Leave combinations out that the model refuses.",
                "type": "boolean",
                "default": False,
            },
        },
        **_paths("swept"),
    }


def _paths(values: str) -> _Schema:
    return {
        "type": "object",
        "patternProperties": {r"^(study|host|policy|vm)(\..+)?$": {"$ref": f"#/$defs/{values}"}},
        "additionalProperties": False,
    }


def _swept(name: str, *more: _Schema) -> _Schema:
    """Return the schema of what may stand at a path; a path without quotes is a table in a table."""
    inner = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"not": {"enum": list(RANGE_KEYS)}},
        "additionalProperties": {"$ref": f"#/$defs/{name}"},
    }
    return {"anyOf": [{"description": "Values.", "type": "array", "minItems": 1}, *more, inner]}


def _range() -> _Schema:
    end: _Schema = {"anyOf": [{"type": "number"}, {"type": "string"}]}
    low, high, scale = RANGE_KEYS
    properties = {low: end, high: end, scale: {"enum": list(SCALES), "default": SCALES[0]}}
    return {**_closed("A range to be sampled.", **properties), "required": [low, high]}
