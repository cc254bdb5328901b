"""A shorter way through Numba for functions that are as plain as those of kernels are.

Numba takes every function through two dozen passes. Most of them look for what these do not have: closures,
comprehensions, array expressions, loops over literals. A kernel has hundreds of functions, and so took half a minute.
Here a plain function takes only the passes that concern it; what operators return is found out once for each pair of
types and not for every line, and types once if there is no loop; there are no reference counts, for arrays are views;
no check after a call that cannot fail, and no place in memory for a variable that is set once, at the start.
The code does the same. A function that is not plain takes all passes.

This uses parts of Numba that are not documented, so the project's dependency names the versions that have them.
"""

from __future__ import annotations

import gc
import operator
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from llvmlite.ir import Constant, IntType, MetaDataString
from numba.core import base, cgutils, ir
from numba.core.callconv import RETCODE_OK, CPUCallConv, Status
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager
from numba.core.cpu import CPUContext
from numba.core.errors import ForceLiteralArg, TypingError
from numba.core.lowering import Lower
from numba.core.transforms import canonicalize_cfg
from numba.core.typed_passes import (
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.typeinfer import TypeInferer
from numba.core.types import Dispatcher, Module, none
from numba.core.types.functions import BaseFunction
from numba.core.typing.context import BaseContext as TypingContext
from numba.core.untyped_passes import FixupArgs, GenericRewrites, ReconstructSSA, TranslateByteCode

from fastlhp.engine.jit import DeviceFunction, Instruction, inlined, parts, views
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
_ZERO = Constant(IntType(64), 0)
_SUCCESS = Status(*[_FALSE for _ in Status._fields])


class _CallConv(CPUCallConv):  # type: ignore[misc]
    """Numba's calling convention, but nobody asks a function that never fails for its outcome."""

    def call_function(
        self, builder: Any, callee: Any, resty: Any, argtys: Any, args: Any, attrs: Any = None
    ) -> Any:
        if callee.name not in never_fails:
            return super().call_function(builder, callee, resty, argtys, args, attrs)
        result, error, *_ = callee.function_type.args
        passed = self._get_arg_packer(argtys).as_arguments(builder, args)
        if resty == none:
            builder.call(callee, [Constant(result, None), Constant(error, None), *passed])
            return _SUCCESS, self.context.get_dummy_value()
        with builder.goto_entry_block():
            place = builder.alloca(result.pointee)  # not zeroed, as Numba's would be: the function writes it
        builder.call(callee, [place, Constant(error, None), *passed])
        return _SUCCESS, self.context.get_returned_value(builder, resty, builder.load(place))

    def return_value(self, builder: Any, retval: Any) -> None:
        """Return from a function; one that returns nothing writes nothing."""
        if retval.type == self.context.get_dummy_type() and isinstance(retval, Constant):
            self._return_errcode_raw(builder, RETCODE_OK)
        else:
            super().return_value(builder, retval)

    def return_status_propagate(self, builder: Any, status: Any) -> None:
        if status is not _SUCCESS:
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

    def get_constant_generic(self, builder: Any, ty: Any, val: Any) -> Any:
        """LLVM value of a constant; a device function is called by its name, so its address is never used."""
        if isinstance(ty, Dispatcher):
            return self.get_constant_null(ty)
        return super().get_constant_generic(builder, ty, val)


class _Lower(Lower):  # type: ignore[misc]
    """Numba's translator to LLVM code, for plain functions."""

    def _find_singly_assigned_variable(self) -> None:
        """Find the variables that need no place in memory.

        For Numba these are the ones that are assigned once and used in that block only; here those of the first block
        may be used anywhere, for all blocks come after it. The arguments are among them.
        """
        n_assigned: dict[str, int] = {}
        elsewhere: set[str] = set()
        in_first: set[str] = set()
        for offset, block in self.blocks.items():
            here: set[str] = set()
            for statement in block.body:
                is_assignment = isinstance(statement, ir.Assign)
                used = statement.value if is_assignment else statement
                variables = {variable.name for variable in statement._rec_list_vars(used)}
                elsewhere |= variables - here
                if is_assignment:
                    name = statement.target.name
                    here.add(name)
                    n_assigned[name] = n_assigned.get(name, 0) + 1
            if offset == self.firstblk and not self.context.enable_nrt:
                in_first = here
        self._singly_assigned_vars = {
            name for name, n in n_assigned.items() if n == 1 and (name not in elsewhere or name in in_first)
        }
        self._blk_local_varmap: dict[str, Any] = {}

    def lower_normal_function(self, fndesc: Any) -> None:
        """Translate the function, and tell LLVM what it cannot know."""
        super().lower_normal_function(fndesc)
        if self.func_ir.func_id.func in inlined:
            self.function.attributes.add("alwaysinline")
        for block in self.function.blocks:
            for instruction in block.instructions:
                if instruction.opname in ("load", "store"):
                    view, field = getattr(instruction.operands[-1], "field", (None, ""))
                    if view is not None:
                        instruction.set_metadata("tbaa", self._tag(view.name, field))
                        if instruction.opname == "load" and field in view.fixed:
                            instruction.set_metadata("invariant.load", self.module.add_metadata([]))

    def _tag(self, record: str, field: str) -> Any:
        """What tells LLVM that different fields of records are in different places; other memory may be anywhere."""
        kind = self.module.add_metadata([MetaDataString(self.module, "fields")])
        for name in (record, f"{record}.{field}"):
            kind = self.module.add_metadata([MetaDataString(self.module, name), kind, _ZERO])
        return self.module.add_metadata([kind, kind, _ZERO])

    def lower_block(self, block: Any) -> None:
        """Translate a block; without preparing for exceptions and deletions, which are not in it."""
        if self.context.enable_nrt:
            return super().lower_block(block)
        try:
            for statement in block.body:
                self.loc = statement.loc
                self.lower_inst(statement)
        except Exception:
            super().lower_block(block)  # fails as well, and says where
            raise

    def lower_expr(self, resty: Any, expr: Any) -> Any:
        """Translate an expression."""
        if expr.op == "getattr":
            _field[:] = self.typeof(expr.value.name), expr.attr
        return super().lower_expr(resty, expr)

    def lower_inst(self, inst: Any) -> None:
        """Translate a statement; without notes for debugging, for which Numba writes out all of them."""
        if isinstance(inst, ir.SetAttr):
            _field[:] = self.typeof(inst.target.name), inst.attr
        if isinstance(inst, ir.Assign) and not isinstance(inst.value, ir.Arg):
            name = inst.target.name
            self.storevar(self.lower_assign(self.typeof(name), inst), name)
        else:
            super().lower_inst(inst)

    def _lower_call_normal(self, fnty: Any, expr: Any, signature: Any) -> Any:
        if expr.vararg or expr.kws or expr.target or signature.recvr or len(expr.args) != len(signature.args):
            return super()._lower_call_normal(fnty, expr, signature)
        arguments = [
            self._cast_var(variable, type_) for variable, type_ in zip(expr.args, signature.args, strict=True)
        ]
        return self.context.get_function(fnty, signature)(self.builder, arguments, self.loc)


class _Lowering(NativeLowering):  # type: ignore[misc]
    """Numba's pass that translates to LLVM code."""

    @property
    def lowering_class(self) -> type[Lower]:
        """What does it."""
        return _Lower


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
        state.func_ir.is_straight = _is_straight(state.func_ir.blocks)
        NopythonTypeInference().run_pass(state)
        if self._survey.assigns_again:
            PreLowerStripPhis().run_pass(state)
        state.targetctx = _Context(state.targetctx)
        state.targetctx.enable_nrt = False  # arrays are views of memory that Python owns
        state.type_annotation = None
        _Lowering().run_pass(state)
        NoPythonBackend().run_pass(state)
        if state.func_id.func in parts:
            state.library.translate(state.cr.fndesc.llvm_func_name)


class PlainCompiler(CompilerBase):  # type: ignore[misc]
    """Numba's compiler for functions that are plain, and for others."""

    def define_pipelines(self) -> list[PassManager]:
        """The passes of the function, the first of which are already done."""
        TranslateByteCode().run_pass(self.state)
        FixupArgs().run_pass(self.state)
        survey = Survey(self.state.func_ir)
        if survey.is_plain:
            return [_ShortWay(survey)]
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


def _is_straight(blocks: dict[int, Any]) -> bool:
    """Whether the blocks are in an order in which all jumps go forward."""
    order = list(blocks)
    return order == sorted(order) and all(
        target > offset for offset, block in blocks.items() for target in block.terminator.get_targets()
    )


@contextmanager
def shortcuts() -> Iterator[None]:
    """Replace what Numba does often and slowly, and do not look for garbage, while the block runs."""
    collects_garbage = gc.isenabled()
    gc.disable()
    with ExitStack() as stack:
        for owner, name, make in (
            (BaseFunction, "get_call_type", _remembering_calls),
            (TypingContext, "resolve_getattr", _remembering_attributes),
            (base.BaseContext, "get_getattr", _remembering_attributes),
            (base, "_has_loc", cache),
            (TypeInferer, "propagate", _once_if_straight),
            (CPUContext, "load_additional_registries", _after_imports),
            (ir.Inst, "_rec_list_vars", _knowing_constants),
            (cgutils, "if_unlikely", _never_if_false),
            (cgutils, "get_record_member", _naming_fields),
        ):
            original = getattr(owner, name)
            stack.callback(setattr, owner, name, original)
            setattr(owner, name, make(original))
        try:
            yield
        finally:
            if collects_garbage:
                # What there is now counts as old: most of it stays, and to look through it takes half a second.
                gc.freeze()
                gc.unfreeze()
                gc.enable()


_field: list[Any] = [None, ""]
"""Type of the record, and name of the field, that is being read or written."""


def _naming_fields(get: Any) -> Any:
    """``cgutils.get_record_member``: the pointer says which field of which records it points to."""

    def get_record_member(builder: Any, record: Any, offset: int, typ: Any) -> Any:
        pointer = get(builder, record, offset, typ)
        pointer.field = views[_field[0]], _field[1]
        return pointer

    return get_record_member


def _remembering_calls(find_out: Any) -> Any:
    """``BaseFunction.get_call_type``: what operators and built-in functions return for which types."""
    known: dict[Any, tuple[Any, Any]] = {}

    def get_call_type(self: Any, context: Any, args: Any, kws: Any) -> Any:
        if kws:
            return find_out(self, context, args, kws)
        key = id(self), tuple(args)
        if key not in known:
            known[key] = self, find_out(self, context, args, kws)
        return known[key][1]

    return get_call_type


def _remembering_attributes(find_out: Any) -> Any:
    """``resolve_getattr`` and ``get_getattr``: what attributes of which types are."""
    known: dict[Any, Any] = {}

    def get_attribute(self: Any, typ: Any, attr: str) -> Any:
        if isinstance(typ, Module):
            return find_out(self, typ, attr)
        key = typ, attr
        if key not in known:
            known[key] = find_out(self, typ, attr)
        return known[key]

    return get_attribute


def _once_if_straight(propagate: Any) -> Any:
    """``TypeInferer.propagate``, which goes over the lines until no type changes any more.

    Without loops the first time is enough.
    """

    def propagate_types(self: Any, raise_errors: bool = True) -> Any:
        if getattr(self.func_ir, "is_straight", False):
            try:
                for constraint in self.constraints.constraints:
                    constraint(self)
                return None
            except (ForceLiteralArg, TypingError):
                pass  # the original finds it again, and says where
        return propagate(self, raise_errors)

    return propagate_types


def _after_imports(load: Any) -> Any:
    """``CPUContext.load_additional_registries``, which can find something new only after an import."""
    n_modules: dict[Any, int] = {}

    def load_additional_registries(self: Any) -> None:
        if n_modules.get(self) != len(sys.modules):
            load(self)
            n_modules[self] = len(sys.modules)

    return load_additional_registries


def _knowing_constants(find: Any) -> Any:
    """``ir.Inst._rec_list_vars``: the variables in a part of a statement, which is a constant in most cases."""
    constant: set[type] = set()

    def list_variables(self: Any, part: Any) -> Any:
        if type(part) is dict:
            part = part.values()
        elif type(part) not in (list, tuple):
            return find(self, part)
        found = []
        for value in part:
            if type(value) is ir.Var:
                found.append(value)
            elif type(value) not in constant:
                found += self._rec_list_vars(value)
                if not isinstance(value, ir.Inst | list | tuple | dict):
                    constant.add(type(value))
        return found

    return list_variables


def _never_if_false(if_unlikely: Any) -> Any:
    """``cgutils.if_unlikely``, which does not even test the condition of the error that cannot happen."""

    def skip(builder: Any, predicate: Any) -> Any:
        return nullcontext() if predicate is _FALSE else if_unlikely(builder, predicate)

    return skip
