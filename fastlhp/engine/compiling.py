"""A shorter way through Numba for functions that are as plain as device functions are.

Numba takes every function through two dozen passes. Most of them look for what device functions do not have: closures,
comprehensions, array expressions, loops over literals. A kernel has hundreds of functions, and so took half a minute.
Here a plain function takes only the passes that concern it; what operators return is found out once for each pair of
types and not for every line; and there are no reference counts without arrays, and no check after a call that cannot
fail. The code does the same. A function that is not plain takes all passes.

This uses parts of Numba that are not documented: `jit` does without this module if it cannot be imported.
"""

from __future__ import annotations

import gc
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
from llvmlite.ir import Constant, IntType
from numba.core import ir
from numba.core.callconv import CPUCallConv, Status
from numba.core.cgutils import alloca_once
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager
from numba.core.cpu import CPUContext
from numba.core.transforms import canonicalize_cfg
from numba.core.typed_passes import (
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonRewrites,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.types.functions import BaseFunction
from numba.core.untyped_passes import FixupArgs, GenericRewrites, ReconstructSSA, TranslateByteCode

from fastlhp.engine.jit import DeviceFunction, Instruction
from fastlhp.engine.linking import never_fails

_STATEMENTS = (ir.Assign, ir.Branch, ir.Jump, ir.Return, ir.SetAttr, ir.SetItem)
_EXPRESSIONS = frozenset(
    "build_tuple call cast exhaust_iter getattr getitem getiter iternext pair_first pair_second static_getitem".split()
)
_OPERATORS = frozenset(
    getattr(operator, name)
    for name in (
        "add sub mul truediv floordiv mod and_ or_ xor lshift rshift eq ne lt le gt ge neg pos invert not_ "
        "iadd isub imul itruediv ifloordiv imod iand ior ixor ilshift irshift"
    ).split()
)
_BUILTINS = (bool, int, float, range, abs, len, max, min, round)
_NUMBERS = (bool, int, float, np.number, np.bool_)


class Survey:
    """What there is in a function.

    Parameters
    ----------
    code : numba.core.ir.FunctionIR
        The function as Numba's interpreter gives it.

    Attributes
    ----------
    is_plain : bool
        It has nothing that the passes left out here would change.
    assigns_again : bool
        It assigns to a variable in several places.
    has_items : bool
        It reads or writes ``a[i]``.
    """

    def __init__(self, code: ir.FunctionIR) -> None:
        self.is_plain = not code.is_generator
        self.assigns_again = False
        self.has_items = False
        self._constants: dict[str, Any] = {}
        assigned = set()
        for statement in (statement for block in code.blocks.values() for statement in block.body):
            self.is_plain &= isinstance(statement, _STATEMENTS)
            self.has_items |= isinstance(statement, ir.SetItem)
            if isinstance(statement, ir.Assign):
                name = statement.target.name
                self.assigns_again |= name in assigned
                assigned.add(name)
                self.is_plain &= self._is_plain(name, statement.value)

    def _is_plain(self, name: str, value: Any) -> bool:
        if isinstance(value, ir.Const | ir.FreeVar | ir.Global):
            self._constants[name] = value.value
            return isinstance(value.value, ModuleType) or _is_plain_constant(value.value)
        if not isinstance(value, ir.Expr):
            return isinstance(value, ir.Arg | ir.Var)
        if value.op in ("binop", "inplace_binop", "unary"):
            return value.fn in _OPERATORS
        if value.op == "getattr" and isinstance(module := self._constants.get(value.value.name), ModuleType):
            return _is_plain_constant(getattr(module, value.attr, ""))
        if value.op == "call" and self._constants.get(value.func.name) is range and len(value.args) == 3:
            return bool(self._constants.get(value.args[2].name))  # `_CallConv` relies on a step other than 0
        self.has_items |= value.op == "getitem"
        return value.op in _EXPRESSIONS


def _is_plain_constant(value: Any) -> bool:
    if value is None or isinstance(value, (DeviceFunction, Instruction, *_NUMBERS)):
        return True
    if isinstance(value, type) and issubclass(value, np.number | np.bool_):
        return True
    return any(value is builtin for builtin in _BUILTINS)


_FALSE = Constant(IntType(1), 0)
_SUCCESS = Status(*[_FALSE for _ in Status._fields])


class _CallConv(CPUCallConv):  # type: ignore[misc]
    """Numba's calling convention, but nobody asks a function that never fails for its outcome."""

    def call_function(
        self, builder: Any, callee: Any, resty: Any, argtys: Any, args: Any, attrs: Any = None
    ) -> Any:
        if callee.name not in never_fails:
            return super().call_function(builder, callee, resty, argtys, args, attrs)
        result, error, *_ = callee.function_type.args
        place = alloca_once(builder, result.pointee)
        passed = self._get_arg_packer(argtys).as_arguments(builder, args)
        builder.call(callee, [place, Constant(error, None), *passed])
        return _SUCCESS, self.context.get_returned_value(builder, resty, builder.load(place))

    def return_status_propagate(self, builder: Any, status: Any) -> None:
        if status is _SUCCESS:
            builder.unreachable()
        else:
            super().return_status_propagate(builder, status)

    def return_user_exc(
        self, builder: Any, exc: Any, exc_args: Any = None, loc: Any = None, func_name: Any = None
    ) -> None:
        if exc is ValueError and exc_args == ("range() arg 3 must not be zero",):
            builder.unreachable()
        else:
            super().return_user_exc(builder, exc, exc_args, loc, func_name)


_sizes: dict[Any, int] = {}


class _Context(CPUContext):  # type: ignore[misc]
    """What a plain function is translated in; a copy of another context."""

    def __init__(self, context: CPUContext) -> None:
        self.__dict__.update(context.__dict__)

    @property
    def call_conv(self) -> CPUCallConv:
        """The calling convention."""
        return _CallConv(self)

    def get_abi_sizeof(self, ty: Any) -> int:
        """Bytes of an LLVM type, which Numba asks for each variable; LLVM needs a module to tell."""
        if ty not in _sizes:
            _sizes[ty] = super().get_abi_sizeof(ty)
        return _sizes[ty]


class _ShortWay(PassManager):  # type: ignore[misc]
    """The passes of a plain function."""

    def __init__(self, survey: Survey) -> None:
        super().__init__("device function")
        self._survey = survey

    def run(self, state: Any) -> None:
        """Compile the function of ``state``."""
        state.func_ir.blocks = canonicalize_cfg(state.func_ir.blocks)
        if self._survey.has_items:
            GenericRewrites().run_pass(state)
        if self._survey.assigns_again:
            ReconstructSSA().run_pass(state)
        NopythonTypeInference().run_pass(state)
        if self._survey.assigns_again:
            PreLowerStripPhis().run_pass(state)
        state.targetctx = _Context(state.targetctx)
        models = state.targetctx.data_model_manager
        if any(models[type_].contains_nrt_meminfo() for type_ in set(state.typemap.values())):
            NopythonRewrites().run_pass(state)
            IRLegalization().run_pass(state)
        else:
            state.targetctx.enable_nrt = False
        state.type_annotation = None
        NativeLowering().run_pass(state)
        NoPythonBackend().run_pass(state)


class DeviceCompiler(CompilerBase):  # type: ignore[misc]
    """Numba's compiler for device functions."""

    def define_pipelines(self) -> list[PassManager]:
        """The passes of the function, the first of which are already done."""
        TranslateByteCode().run_pass(self.state)
        FixupArgs().run_pass(self.state)
        survey = Survey(self.state.func_ir)
        if survey.is_plain:
            return [_ShortWay(survey)]
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


@contextmanager
def shortcuts() -> Iterator[None]:
    """Remember what operators and built-in functions return for which types, and do not look for garbage."""
    known: dict[Any, tuple[Any, Any]] = {}
    find_out = BaseFunction.get_call_type

    def get_call_type(self: Any, context: Any, args: Any, kws: Any) -> Any:
        if kws:
            return find_out(self, context, args, kws)
        key = id(self), tuple(args)
        if key not in known:
            known[key] = self, find_out(self, context, args, kws)
        return known[key][1]

    collects_garbage = gc.isenabled()
    gc.disable()
    BaseFunction.get_call_type = get_call_type  # type: ignore[method-assign]
    try:
        yield
    finally:
        BaseFunction.get_call_type = find_out  # type: ignore[method-assign]
        if collects_garbage:
            gc.enable()
