"""Filters of a sweep: ``where`` expressions over the study's values, such as ``vm.guest.count * 4 <= 2 * host.pcpus``.

An expression is parsed as Python's grammar has it and then evaluated here; nothing of it is ever executed. Arithmetic
is exact, and knows durations and frequencies from numbers.
"""

import ast
import contextlib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from fastlhp.model.sweep import format_keys, keys_of
from fastlhp.model.units import Clock, UnitError, parse_duration, parse_frequency
from fastlhp.model.validation import Keys, Mistake, Mistakes, Written, json_string, show

__all__ = ["Filter"]

_MAX_LENGTH = 1000
_MAX_DEPTH = 40
_HELP = (
    "a comparison of paths, numbers and texts, with + - * /, and, or, not, in, "
    'such as "vm.guest.count * vm.guest.vcpus <= 2 * host.pcpus"'
)
# vm.0.count is no Python; a string before a path is matched first, and left as it is.
_STRING_OR_PATH = re.compile(r"""("[^"]*"|'[^']*')|(?<![\w.])([A-Za-z_]\w*(?:\.\w+)+)""")
_INDEX = re.compile(r"\.(\d+)(?!\w)")

_ARITHMETIC: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_ORDER: dict[type[ast.cmpop], Callable[[Fraction, Fraction], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class _Amount(NamedTuple):
    """A number, in ns to some power: 0 for plain numbers, 1 for durations, -1 for frequencies."""

    value: Fraction
    power: int = 0


_Value = bool | str | _Amount


@dataclass
class _Scope:
    """A study with swept values in it, in which an expression is evaluated."""

    tree: object
    clock: Clock
    names: Sequence[str]


_Expression = Callable[[_Scope], _Value]


@dataclass
class Filter:
    """An expression that a configuration must satisfy.

    Parameters
    ----------
    text : object
        As written; a text.
    vm_names : sequence of str
        Names of the ``[[vm]]`` groups, in order.

    Attributes
    ----------
    paths : list of tuple of str or int
        What it looks at.

    Raises
    ------
    Mistakes
        If it is not an expression, or not one of these.
    """

    text: object
    vm_names: Sequence[str]
    paths: list[Keys] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or len(self.text) > _MAX_LENGTH:
            raise _wrong(self.text, f"{_HELP}; at most {_MAX_LENGTH} characters")
        source = _STRING_OR_PATH.sub(lambda m: m[1] or _INDEX.sub(r"[\1]", m[2]), self.text.strip())
        try:
            tree = ast.parse(source, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise _wrong(self.text, _HELP) from None
        level: list[ast.AST] = [tree.body]
        for _ in range(_MAX_DEPTH):
            level = [child for node in level for child in ast.iter_child_nodes(node)]
        if level:
            raise _wrong(self.text, f"at most {_MAX_DEPTH} levels")
        self._evaluate = self._compiled(tree.body)

    def keeps(self, tree: object, clock: Clock) -> bool:
        """Say whether a configuration satisfies the expression.

        Parameters
        ----------
        tree : object
            The study, swept values in their places.
        clock : Clock
            Of its host.

        Raises
        ------
        Mistakes
            If a path leads to nothing, or values do not go together.
        """
        result = self._evaluate(_Scope(tree, clock, self.vm_names))
        if not isinstance(result, bool):
            raise _wrong(self.text, f"an expression that is true or false; {_HELP}")
        return result

    def _compiled(self, node: ast.expr) -> _Expression:
        if isinstance(node, ast.Constant):
            return self._constant(node)
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            return self._path(node)
        if isinstance(node, ast.BoolOp):
            parts = [(ast.unparse(each), self._compiled(each)) for each in node.values]
            stop = isinstance(node.op, ast.Or)
            # any(), in the order written: `kind == "delay" and cap < "1ms"` asks no other guard for its cap.
            return lambda scope: stop is any(_truth(part, source, scope) is stop for source, part in parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
            source, inner = ast.unparse(node.operand), self._compiled(node.operand)
            if isinstance(node.op, ast.Not):
                return lambda scope: not _truth(inner, source, scope)
            return lambda scope: _Amount(-(found := _amount(inner, source, scope)).value, found.power)
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            return self._arithmetic(node)
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        raise _wrong(Written(ast.unparse(node)), _HELP)

    def _constant(self, node: ast.Constant) -> _Expression:
        constant = node.value
        if not isinstance(constant, bool | int | float | str):
            raise _wrong(Written(ast.unparse(node)), _HELP)
        return lambda scope: _value(constant, scope, ast.unparse(node))

    def _path(self, node: ast.expr) -> _Expression:
        source = ast.unparse(node)
        parts: list[str] = []
        while isinstance(node, ast.Attribute | ast.Subscript):
            if isinstance(node, ast.Attribute):
                parts.append(node.attr)
            elif isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int | str):
                parts.append(str(node.slice.value))
            else:
                raise _wrong(
                    Written(source), 'a path such as host.pcpus, vm.0.count or vm["web-server"].count'
                )
            node = node.value
        if not isinstance(node, ast.Name):
            raise _wrong(Written(source), _HELP)
        keys = keys_of([node.id, *reversed(parts)], self.vm_names)
        self.paths.append(keys)

        def found(scope: _Scope) -> _Value:
            place = scope.tree
            for key in keys:
                if isinstance(place, Mapping) and key in place or _has(place, key):
                    place = place[key]  # type: ignore[index]
                else:
                    raise _wrong(Written(f"{format_keys(keys)}, which the study does not say"), _SAID)
            return _value(place, scope, format_keys(keys))

        return found

    def _arithmetic(self, node: ast.BinOp) -> _Expression:
        compute = _ARITHMETIC[type(node.op)]
        sources = ast.unparse(node.left), ast.unparse(node.right)
        left, right = self._compiled(node.left), self._compiled(node.right)

        def result(scope: _Scope) -> _Value:
            a, b = _amount(left, sources[0], scope), _amount(right, sources[1], scope)
            if isinstance(node.op, ast.Mult | ast.Div):
                if isinstance(node.op, ast.Div) and not b.value:
                    raise _wrong(Written(f"{sources[1]}, which is 0"), "no division by 0")
                power = a.power + b.power if isinstance(node.op, ast.Mult) else a.power - b.power
                return _Amount(compute(a.value, b.value), power)
            _same_kind(a, b, sources)
            return _Amount(compute(a.value, b.value), a.power)

        return result

    def _comparison(self, node: ast.Compare) -> _Expression:
        tests = []
        first = node.left
        for op, second in zip(node.ops, node.comparators, strict=True):
            tests.append(self._test(first, op, second))
            first = second
        return lambda scope: all(test(scope) for test in tests)

    def _test(self, first: ast.expr, op: ast.cmpop, second: ast.expr) -> Callable[[_Scope], bool]:
        left = self._compiled(first)
        source = ast.unparse(first)
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(second, ast.List | ast.Tuple):
                raise _wrong(Written(ast.unparse(second)), 'a list after "in", such as [1, 2]')
            choices = [(ast.unparse(each), self._compiled(each)) for each in second.elts]
            return lambda scope: (
                isinstance(op, ast.In)
                is any(_equal(left(scope), choice(scope), (source, written)) for written, choice in choices)
            )
        right = self._compiled(second)
        sources = source, ast.unparse(second)
        if isinstance(op, ast.Eq | ast.NotEq):
            return lambda scope: isinstance(op, ast.Eq) is _equal(left(scope), right(scope), sources)
        if type(op) not in _ORDER:
            raise _wrong(self.text, _HELP)

        def ordered(scope: _Scope) -> bool:
            a, b = _amount(left, sources[0], scope), _amount(right, sources[1], scope)
            _same_kind(a, b, sources)
            return _ORDER[type(op)](a.value, b.value)

        return ordered


_SAID = 'a path with a value in every combination that is asked (a default must be written; and "and" asks no further)'
_KINDS = {0: "a number without unit", 1: "a duration", -1: "a frequency"}


def _wrong(found: object, accepted: str) -> Mistakes:
    return Mistakes([Mistake((), found, accepted)])


def _has(place: object, key: str | int) -> bool:
    return isinstance(place, list) and isinstance(key, int) and key < len(place)


def _value(found: object, scope: _Scope, source: str) -> _Value:
    """Return what a study says as a value of an expression."""
    if isinstance(found, bool):
        return found
    if isinstance(found, int):
        return _Amount(Fraction(found))
    if isinstance(found, float):
        try:
            # As it is written: 0.1 is one tenth.
            return _Amount(Fraction(repr(found)))
        except ValueError:
            raise _wrong(Written(f"{source}, which is {found}"), "a finite number") from None
    if isinstance(found, str):
        with contextlib.suppress(UnitError):
            return _Amount(parse_duration(found, scope.clock), 1)
        with contextlib.suppress(UnitError):
            return _Amount(parse_frequency(found) / 10**9, -1)
        return found
    accepted = f"a number or text; {source} is {show(found, 60)}: name one of its keys"
    raise _wrong(Written(source), accepted)


def _truth(part: _Expression, source: str, scope: _Scope) -> bool:
    found = part(scope)
    if not isinstance(found, bool):
        raise _wrong(Written(source), "something that is true or false beside and, or, not")
    return found


def _amount(part: _Expression, source: str, scope: _Scope) -> _Amount:
    found = part(scope)
    if not isinstance(found, _Amount):
        is_what = json_string(found) if isinstance(found, str) else str(found).lower()
        raise _wrong(
            Written(source if source == is_what else f"{source}, which is {is_what}"),
            "a number or a duration",
        )
    return found


def _same_kind(a: _Amount, b: _Amount, sources: tuple[str, str]) -> None:
    if a.power != b.power:
        left, right = (_KINDS.get(each.power, "something else") for each in (a, b))
        found = Written(f"{sources[0]}, which is {left}, with {sources[1]}, which is {right}")
        raise _wrong(found, 'the same kind on both sides; a duration has a unit, such as "5us"')


def _equal(a: _Value, b: _Value, sources: tuple[str, str]) -> bool:
    if isinstance(a, _Amount) and isinstance(b, _Amount):
        _same_kind(a, b, sources)
    return type(a) is type(b) and a == b
