"""How Python functions become machine code: one place for options, laziness and the cache.

Importing this module costs nothing: Numba is loaded when the first kernel is called. So the files that hold
device functions (the policies among them) can be imported by light commands such as ``fastlhp check``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from fastlhp.cache import cache_folder
from fastlhp.engine.linking import flat
from fastlhp.engine.machine_code import MachineCode, surroundings_hash, write_code
from fastlhp.engine.tailoring import Claim, Facts, make_room, path_for, read_modules, translate, write_modules
from fastlhp.policies import own_files

_getting_ready = threading.RLock()
_compiled: weakref.WeakSet[DeviceFunction | Kernel] = weakref.WeakSet()


def forget_compiled() -> None:
    """Compile everything anew when it is next called: there is another policy."""
    for function in list(_compiled):
        function.forget()


PACKAGE = Path(__file__).resolve().parent.parent
OLD_S = 30 * 24 * 3600

#: No ``fastmath``: with it the last bit of a result would depend on the CPU.
#: And no wrappers for callers: kernels call device functions, and `machine_code.py` calls kernels.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


class DeviceFunction:
    """A function that runs inside kernels; compiled when a kernel first calls it.

    Numba sees it as the compiled function (see `_teach_numba`), Python as the plain one.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self._dispatcher: Any = None
        _compiled.add(self)

    def forget(self) -> None:
        """Compile anew at the next call."""
        self._dispatcher = None

    def dispatcher(self) -> Any:
        """The Numba dispatcher, made at the first call."""
        if self._dispatcher is None:
            self._dispatcher = compile_device(self.function)
        return self._dispatcher

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def compile_device(function: Callable[..., Any]) -> Any:
    """Numba dispatcher of a device function.

    Numba compiles a function anew for each constant that it is called with (``get(host, KEY, p)``); that multiplies
    the time to compile and gains nothing, since LLVM inlines small functions anyway. So constants are typed as
    what they are constants of.
    """
    numba = _teach_numba()
    from fastlhp.engine.compiling import PlainCompiler

    dispatcher = numba.njit(**OPTIONS, pipeline_class=PlainCompiler)(function)
    get_call_template = dispatcher.get_call_template
    templates: dict[Any, Any] = {}

    def without_literals(arguments: Any, keywords: Any) -> Any:
        types = tuple(numba.types.unliteral(argument) for argument in arguments)
        if keywords:
            return get_call_template(types, keywords)
        if types not in templates:
            templates[types] = get_call_template(types, keywords)
        return templates[types]

    dispatcher.get_call_template = without_literals
    return dispatcher


def device(function: Callable[..., Any]) -> DeviceFunction:
    """Mark a function for use inside kernels."""
    return DeviceFunction(function)


parts: set[Callable[..., Any]] = set()
"""Functions that are parts of kernels; see `part`."""


def part(function: Callable[..., Any]) -> DeviceFunction:
    """Mark a function for use inside kernels: a large one, which is translated by itself, beside the others.

    So it is never inlined, and what it calls is in the kernel twice if others call it as well.
    """
    parts.add(function)
    return DeviceFunction(function)


inlined: set[Callable[..., Any]] = set()
"""Functions that are put in the place of every call; see `inline`."""


def inline(function: Callable[..., Any]) -> DeviceFunction:
    """Mark a function for use inside kernels: one for which calls are too dear, whatever LLVM thinks of its size."""
    inlined.add(function)
    return DeviceFunction(function)


class Instruction:
    """A function of kernels that is given by the LLVM code it stands for.

    Parameters
    ----------
    define : callable
        Gets the modules ``numba`` and ``llvmlite.ir`` and returns what ``numba.extending.intrinsic`` takes: a function
        from types to a signature and a code generator.
    """

    def __init__(self, define: Callable[[Any, Any], Any]) -> None:
        self._define = define
        self._template: Any = None

    def template(self) -> Any:
        """Numba's type of this function, made at the first use."""
        if self._template is None:
            from llvmlite import ir

            numba = _teach_numba()
            intrinsic = numba.extending.intrinsic(self._define(numba, ir))
            typing_context = numba.core.registry.cpu_target.typing_context
            typing_context.refresh()  # takes up the new intrinsic
            self._template = typing_context.resolve_value_type(intrinsic)
        return self._template

    def __call__(self, *arguments: Any) -> Any:
        raise TypeError("this function exists in compiled code only")


class RecordView(Instruction):
    """``view(address, i)``: the i-th record of type ``dtype`` of the array that starts at ``address``.

    Scalar code of a lane passes single addresses around instead of dozens of arrays: calls stay cheap and
    fields keep their names. Reading or writing a field of the view is one machine instruction.

    Parameters
    ----------
    name : str
        What the records are. LLVM knows by it that fields of others are in other places.
    dtype : numpy.dtype
        Of a record.
    fixed : iterable of str, optional
        Fields that nothing changes while a kernel runs.
    """

    def __init__(self, name: str, dtype: np.dtype[Any], fixed: Iterable[str] = ()) -> None:
        def define(numba: Any, ir: Any) -> Any:
            record = numba.from_dtype(dtype)
            if views.setdefault(record, self).name != name:
                raise TypeError(f"records {name!r} and {views[record].name!r} have the same fields")

            def view(typing_context: Any, address: Any, index: Any) -> Any:
                def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                    base, position = arguments
                    at = builder.add(base, builder.mul(position, position.type(dtype.itemsize)))
                    return builder.inttoptr(at, context.get_value_type(record))

                return record(numba.types.int64, numba.types.int64), generate

            return view

        super().__init__(define)
        self.name = name
        self.dtype = dtype
        self.fixed = frozenset(fixed)


views: dict[Any, RecordView] = {}
"""The view of each of Numba's record types."""


class ArrayView(Instruction):
    """``view(address, n)``: the ``n`` values of type ``dtype`` that start at ``address``, as an array.

    For loops over a buffer: LLVM vectorises these, but not accesses through a `RecordView`, whose pointer is
    made anew for each element.
    """

    def __init__(self, dtype: type[np.generic]) -> None:
        def define(numba: Any, ir: Any) -> Any:
            element = numba.from_dtype(np.dtype(dtype))
            array = numba.types.Array(element, 1, "C")
            size = np.dtype(dtype).itemsize

            def view(typing_context: Any, address: Any, n: Any) -> Any:
                def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                    base, length = arguments
                    made = context.make_array(array)(context, builder)
                    data = builder.inttoptr(base, context.get_data_type(element).as_pointer())
                    stride = length.type(size)
                    context.populate_array(
                        made, data=data, shape=[length], strides=[stride], itemsize=stride, meminfo=None
                    )
                    return made._getvalue()

                return array(numba.types.int64, numba.types.int64), generate

            return view

        super().__init__(define)


def _define_lowest_bit(numba: Any, ir: Any) -> Any:
    types = numba.types

    def lowest_bit(typing_context: Any, word: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.cttz(arguments[0], ir.IntType(1)(1))

        return types.uint64(types.uint64), generate

    return lowest_bit


lowest_bit = Instruction(_define_lowest_bit)
"""``lowest_bit(word)``: the place of the lowest bit that is set in a uint64 other than 0."""


class Kernel:
    """An entry from Python into machine code: takes int64, that is numbers and addresses, and returns one or nothing.

    Compiled when it is first called, and kept on disk as object files: a later process loads them without Numba,
    whose start alone takes longer than a small study. Its LLVM code is kept as well, for `tailor`.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.forget()
        _compiled.add(self)

    def forget(self) -> None:
        """Compile anew at the next call."""
        self._code: MachineCode | None = None
        self._path: Path | None = None
        self._modules: list[tuple[str, str]] = []
        self._tailored: dict[Facts, MachineCode] = {}

    def compile(self) -> Any:
        """Numba's result of compiling the function, which is not kept."""
        numba = _teach_numba()
        from fastlhp.engine.compiling import PlainCompiler, shortcuts

        dispatcher = numba.njit(**OPTIONS, pipeline_class=PlainCompiler)(self.function)
        with shortcuts(), flat(self.function.__qualname__):
            dispatcher.compile((numba.types.int64,) * self._n_arguments)
        (compiled,) = dispatcher.overloads.values()
        if compiled.signature.return_type not in (numba.types.int64, numba.types.none):
            raise TypeError(
                f"kernel {self.__name__} returns {compiled.signature.return_type}, not int64 or nothing"
            )
        return compiled

    def _find_path(self) -> Path | None:
        """Where the machine code is kept; None if nowhere, as that of functions which `sources_hash` does not know."""
        is_known = PACKAGE in Path(self.function.__code__.co_filename).parents
        directory = cache_directory() if is_known else None
        return directory and directory / f"{self.__name__}-{surroundings_hash()}.o"

    @property
    def _n_arguments(self) -> int:
        return self.function.__code__.co_argcount

    def _ready(self) -> MachineCode:
        """The machine code: from the cache, or made and put there."""
        with _getting_ready:
            if self._code is None:
                path = self._path = self._find_path()
                self._code = MachineCode.read(path, self._n_arguments) if path else None
            if self._code is None:
                compiled = self.compile()
                symbol, code = compiled.fndesc.llvm_func_name, compiled.library.machine_code
                self._code = MachineCode.load(code, symbol, self._n_arguments)
                if path:
                    write_modules(path.with_suffix(".llvm"), compiled.library.modules)
                    write_code(path, symbol, code)
                else:
                    self._modules = compiled.library.modules
            return self._code

    def tailored(self, facts: Facts) -> MachineCode | None:
        """Machine code that takes facts for granted, if `tailor` has made it, in whatever process."""
        if facts not in self._tailored and self._path:
            code = MachineCode.read(path_for(self._path, facts), self._n_arguments)
            if code is not None:
                self._tailored[facts] = code
        return self._tailored.get(facts)

    def tailor(self, facts: Facts) -> MachineCode | None:
        """Make machine code that takes facts for granted, which takes seconds.

        None if the LLVM code is not there any more, or another process is making it.
        """
        self._ready()
        if (code := self.tailored(facts)) is not None:
            return code
        path = self._path and path_for(self._path, facts)
        with Claim(path) if path else nullcontext(True) as is_ours:
            modules = self._modules or (read_modules(self._path.with_suffix(".llvm")) if self._path else [])
            if not is_ours or not modules:
                return None
            (_, symbol), *_ = modules
            parts = translate(modules, facts)
            code = self._tailored[facts] = MachineCode.load(parts, symbol, self._n_arguments)
            if path:
                write_code(path, symbol, parts)
                make_room(path)
        return code

    def __call__(self, *arguments: int) -> int:
        return (self._code or self._ready())(*arguments)


def kernel(function: Callable[..., Any]) -> Kernel:
    """Mark a function as an entry from Python into compiled code."""
    return Kernel(function)


def sources_hash() -> str:
    """Hash of every source file that can end up in a kernel."""
    digest = hashlib.sha256()
    files = sorted(path for part in ("engine", "policies") for path in (PACKAGE / part).rglob("*.py"))
    constants = [PACKAGE / "results" / "counters.py", PACKAGE / "model" / "host.py"]
    for path in [*files, *constants, *own_files()]:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_directory() -> Path | None:
    """First writable place for compiled kernels; None if there is none (then each process compiles).

    Tried in order: `cache_folder`, ``$NUMBA_CACHE_DIR``, the folder for temporary files.
    """
    places = [cache_folder()]
    if os.environ.get("NUMBA_CACHE_DIR"):
        places.append(Path(os.environ["NUMBA_CACHE_DIR"]))
    places.append(Path(tempfile.gettempdir()) / f"fastlhp-{os.getuid() if hasattr(os, 'getuid') else 'user'}")
    name = f"kernels-{sources_hash()}"
    for place in places:
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            if hasattr(os, "getuid") and place.stat().st_uid not in (os.getuid(), 0):
                continue  # cached kernels are code: none from another user's folder
            is_new = not (place / name).exists()
            (place / name).mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=place / name):
                if is_new:
                    _remove_old_kernels(place)
                return place / name
        except OSError:
            continue
    return None


def _remove_old_kernels(place: Path) -> None:
    """Delete the kernels of other versions of the sources that are older than a month."""
    for folder in place.glob("kernels-*"):
        if time.time() - folder.stat().st_mtime > OLD_S:
            shutil.rmtree(folder, ignore_errors=True)


_taught = False


def _teach_numba() -> Any:
    """Import Numba and tell it what a `DeviceFunction` or `Instruction` in a kernel's globals is."""
    global _taught
    import numba
    import numba.extending

    if not _taught:

        @numba.extending.typeof_impl.register(DeviceFunction)
        def typeof_device(value: DeviceFunction, context: Any) -> Any:
            return numba.types.Dispatcher(value.dispatcher())

        @numba.extending.typeof_impl.register(Instruction)
        def typeof_instruction(value: Instruction, context: Any) -> Any:
            return value.template()

        _taught = True
    return numba
