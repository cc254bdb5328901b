"""Device functions written for vectors, where much is to be done without a detour through memory.

The body of such a function is plain Python that runs once, while a kernel is compiled. It computes with `Value`s, which
stand for numbers or vectors of the LLVM code that it writes: so the same lines serve one number and 32 of them, loops
are unrolled, and nothing depends on whether LLVM recognises a loop that can be vectorised.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fastlhp.engine.jit import Instruction


class Value:
    """A value of LLVM code: an int32, int64 or float32, or a vector of these.

    The other operand of an operator may be a Python number. Integers are taken as unsigned, except by `to_float` and
    `to_int`.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Writes the code.
    value : llvmlite.ir.Value
        What it calls the value.
    """

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder = builder
        self.value = value
        self.type = value.type

    def _write(self, operation: str, *operands: Any) -> Value:
        return Value(self.builder, getattr(self.builder, operation)(*operands))

    def _operand(self, other: Value | float) -> Any:
        return other.value if isinstance(other, Value) else self.type(other)

    def _binary(self, operation: str, other: Value | float) -> Value:
        return self._write(operation, self.value, self._operand(other))

    def _arithmetic(self, operation: str, other: Value | float) -> Value:
        is_float = self._like(_ir().FloatType()) == self.type
        return self._binary("f" + operation if is_float else operation, other)

    def __add__(self, other: Value | float) -> Value:
        return self._arithmetic("add", other)

    def __sub__(self, other: Value | float) -> Value:
        return self._arithmetic("sub", other)

    def __rsub__(self, other: float) -> Value:
        return Value(self.builder, self.type(other)) - self

    def __mul__(self, other: Value | float) -> Value:
        return self._arithmetic("mul", other)

    def __and__(self, other: Value | int) -> Value:
        return self._binary("and_", other)

    def __or__(self, other: Value | int) -> Value:
        return self._binary("or_", other)

    def __xor__(self, other: Value | int) -> Value:
        return self._binary("xor", other)

    def __lshift__(self, other: Value | int) -> Value:
        return self._binary("shl", other)

    def __rshift__(self, other: int) -> Value:
        return self._binary("lshr", other)

    def least(self, other: float) -> Value:
        """The smaller of this float32 and another."""
        is_smaller = self.builder.fcmp_ordered("<", self.value, self.type(other))
        return self._write("select", is_smaller, self.value, self.type(other))

    def _compare(self, relation: str, other: Value | int) -> Value:
        return self._write("icmp_signed", relation, self.value, self._operand(other))

    def __lt__(self, other: Value | int) -> Value:
        return self._compare("<", other)

    def __gt__(self, other: Value | int) -> Value:
        return self._compare(">", other)

    def __le__(self, other: Value | int) -> Value:
        return self._compare("<=", other)

    def equals(self, other: Value | int) -> Value:
        """Whether integers are the same."""
        return self._compare("==", other)

    def differs(self, other: Value | int) -> Value:
        """Whether integers are not the same."""
        return self._compare("!=", other)

    def __invert__(self) -> Value:
        return self._write("not_", self.value)

    def lower(self, other: Value | int) -> Value:
        """The lower of two integers."""
        return (self < other).choose(self, Value(self.builder, self._operand(other)))

    def choose(self, yes: Value | int, no: Value) -> Value:
        """Of a condition: one value where it is true, else the other."""
        return self._write("select", self.value, no._operand(yes), no.value)

    def where(self) -> Value:
        """Of a vector of conditions: which are true, as the bits of an int64."""
        bits = self._write("bitcast", self.value, _ir().IntType(self.type.count))
        return bits._write("zext", bits.value, _ir().IntType(64))

    def wide(self) -> Value:
        """Unsigned int32 as int64."""
        return self._write("zext", self.value, self._like(_ir().IntType(64)))

    def narrow(self) -> Value:
        """The lower half of int64, as int32."""
        return self._write("trunc", self.value, self._like(_ir().IntType(32)))

    def _like(self, element: Any) -> Any:
        """Type of as many of these elements as this value has."""
        return _ir().VectorType(element, self.type.count) if hasattr(self.type, "count") else element

    def to_float(self) -> Value:
        """Int32, with its sign, as float32."""
        return self._write("sitofp", self.value, self._like(_ir().FloatType()))

    def to_int(self) -> Value:
        """Float32, cut towards 0, as int32."""
        return self._write("fptosi", self.value, self._like(_ir().IntType(32)))

    def bits(self) -> Value:
        """The bits of float32, as int32."""
        return self._write("bitcast", self.value, self._like(_ir().IntType(32)))

    def of_bits(self) -> Value:
        """The float32 whose bits these int32 are."""
        return self._write("bitcast", self.value, self._like(_ir().FloatType()))

    def like(self, number: int) -> Value:
        """A number as a value of this type."""
        return Value(self.builder, self.type(number))

    def times(self, n: int) -> Value:
        """A vector of n times this number."""
        return pairs(self, self, n // 2)

    def counting(self, n: int, step: int = 1) -> Value:
        """A vector of this number and n - 1 more, each by ``step`` larger than the one before."""
        first = self.times(n)
        return first + Value(self.builder, first.type([step * i for i in range(n)]))

    def multiples(self, n: int) -> Value:
        """A vector of 0, 1, .. n - 1 times this number."""
        return self.times(n) * self.like(0).counting(n)

    def split(self) -> Value:
        """A vector of int64 as one of int32: of each the lower half, then the upper one."""
        return self._write("bitcast", self.value, _ir().VectorType(_ir().IntType(32), 2 * self.type.count))

    def joined(self) -> Value:
        """A vector of int32 as one of int64: two make one, the lower half first."""
        return self._write("bitcast", self.value, _ir().VectorType(_ir().IntType(64), self.type.count // 2))

    def _reduced(self, intrinsic: str, result: Any) -> Value:
        from numba.core.cgutils import get_or_insert_function

        function_type = _ir().FunctionType(result, [self.type])
        function = get_or_insert_function(self.builder.module, function_type, f"llvm.{intrinsic}")
        return self._write("call", function, [self.value])

    def sum(self) -> Value:
        """Sum of a vector of integers."""
        element = self.type.element
        return self._reduced(f"vector.reduce.add.v{self.type.count}i{element.width}", element)

    def count(self) -> Value:
        """How many of a vector of conditions are true, as int64."""
        ones = self._write("zext", self.value, self._like(_ir().IntType(32)))
        n = ones.sum()
        return n._write("zext", n.value, _ir().IntType(64))

    def _place(self, type_: Any) -> Any:
        return self.builder.inttoptr(self.value, type_.as_pointer())

    def store(self, value: Value) -> None:
        """Put a value to this address."""
        self.builder.store(value.value, self._place(value.type)).align = 4

    def load(self, n: int, bits: int = 64) -> Value:
        """The vector of n int64, or int32, at this address."""
        loaded = self._write("load", self._place(_ir().VectorType(_ir().IntType(bits), n)))
        loaded.value.align = 4
        return loaded

    def number(self) -> Value:
        """The int64 at this address."""
        return self._write("load", self._place(_ir().IntType(64)))

    def gather(self, bits: int = 64) -> Value:
        """The int64, or int32, at each of these addresses."""
        ir = _ir()
        found = ir.VectorType(ir.IntType(bits), self.type.count)(ir.Undefined)
        for i in range(self.type.count):
            loaded = self.builder.load(self[i]._place(ir.IntType(bits)))
            found = self.builder.insert_element(found, loaded, ir.IntType(32)(i))
        return Value(self.builder, found)

    def scatter(self, values: Value) -> None:
        """Put a value to each of these addresses, one after the other."""
        for i in range(self.type.count):
            self[i].store(values[i])

    def __getitem__(self, i: int) -> Value:
        return self._write("extract_element", self.value, _ir().IntType(32)(i))


def pairs(first: Value, second: Value, n: int) -> Value:
    """A vector of n times two numbers, in turns."""
    ir = _ir()
    int32, two = ir.IntType(32), ir.VectorType(first.type, 2)
    vector = first.builder.insert_element(two(ir.Undefined), first.value, int32(0))
    vector = first.builder.insert_element(vector, second.value, int32(1))
    order = ir.VectorType(int32, 2 * n)([0, 1] * n)
    return first._write("shuffle_vector", vector, two(ir.Undefined), order)


def lowest_of(values: list[Value]) -> Value:
    """The lowest of some integers, found two by two, so that none has to wait for all others."""
    while len(values) > 1:
        values = [a.lower(b) for a, b in zip(values[::2], values[1::2], strict=True)]
    return values[0]


def repeat(n: Value, body: Callable[..., tuple[Value, ...]], *carried: Value) -> tuple[Value, ...]:
    """Write a loop: ``carried = body(i, *carried)`` for i = 0..n-1; returns what was carried last."""
    builder = n.builder
    before = builder.block
    head, inside, after = (builder.append_basic_block(f"repeat.{part}") for part in ("head", "body", "end"))
    builder.branch(head)
    builder.position_at_end(head)
    phis = [builder.phi(value.type) for value in (n, *carried)]
    builder.cbranch(builder.icmp_signed("<", phis[0], n.value), inside, after)
    builder.position_at_end(inside)
    i, *values = (Value(builder, phi) for phi in phis)
    results = [i + 1, *body(i, *values)]
    for phi, first, result in zip(
        phis, (n.type(0), *(value.value for value in carried)), results, strict=True
    ):
        phi.add_incoming(first, before)
        phi.add_incoming(result.value, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return tuple(values)


def either(condition: Value, yes: Callable[[], Any], no: Callable[[], Any]) -> Any:
    """Write a branch on one condition; the value, or the values, are those of ``yes()`` or of ``no()``, if any."""
    builder = condition.builder
    with builder.if_else(condition.value) as (then, otherwise):
        with then:
            first, after_first = yes(), builder.block
        with otherwise:
            second, after_second = no(), builder.block

    def joined(a: Value, b: Value) -> Value:
        phi = builder.phi(a.type)
        phi.add_incoming(a.value, after_first)
        phi.add_incoming(b.value, after_second)
        return Value(builder, phi)

    if isinstance(first, tuple):
        return tuple(joined(a, b) for a, b in zip(first, second, strict=True))
    return joined(first, second) if isinstance(first, Value) else None


class Written(Instruction):
    """A device function made by `written`; as Python, it computes with integers, if its function needs no more."""

    def __init__(self, define: Callable[[Any, Any], Any], function: Callable[..., Any]) -> None:
        super().__init__(define)
        self.function = function
        self.__doc__ = function.__doc__

    def __call__(self, *arguments: Any) -> Any:
        """Call the function with integers."""
        return self.function(*map(int, arguments))


def written(types: str) -> Callable[[Callable[..., Any]], Instruction]:
    """Make a device function of a Python function that writes its code.

    Parameters
    ----------
    types : str
        Of its result and arguments, as Numba writes them: ``"float32(uint32)"``. With ``UniTuple(..)`` the function
        returns a tuple of values.
    """

    def decorate(function: Callable[..., Any]) -> Instruction:
        def define(numba: Any, ir: Any) -> Any:
            parameters, result = numba.core.sigutils.normalize_signature(types)

            def typed(*_: Any) -> Any:
                def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                    returned = function(*(Value(builder, argument) for argument in arguments))
                    if returned is None:
                        return context.get_dummy_value()
                    if isinstance(returned, tuple):
                        return context.make_tuple(builder, result, [value.value for value in returned])
                    return returned.value

                return result(*parameters), generate

            names = ["typing_context", *inspect.signature(function).parameters]
            typed.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
                [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
            )
            return typed

        return Written(define, function)

    return decorate


def _ir() -> Any:
    """The module `llvmlite.ir`, imported late for the sake of light commands."""
    from llvmlite import ir

    return ir
