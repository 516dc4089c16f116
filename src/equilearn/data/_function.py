"""Functions by name, `package.module:function`, as the command line gives them."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from equilearn._check import InputError, InputTypeError
from equilearn.data._arrays import check_task
from equilearn.data._task import Task

_SPEC = re.compile(r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*$")


def is_function(text: str) -> bool:
    """Whether `text` has the form `package.module:function`."""
    return _SPEC.match(text) is not None


def load_function(spec: str) -> Callable[..., Any]:
    """The function (or any callable) that `package.module:function` names.

    Modules are looked for where Python looks and in the current folder. Importing a module runs it.
    What the function raises when it is called comes out as an `InputError` that names it.

    Raises:
        InputError: not of that form, no such module, an error within it, no such name (near names
            are listed), or something that cannot be called.

    Example:
        >>> load_function("math:sqrt")(9.0)
        3.0
    """
    if not is_function(spec):
        raise InputError(f"{spec!r} does not name a function. The form is package.module:function.")
    module_name, _, name = spec.partition(":")
    found: Any = _import(module_name, spec)
    for part in name.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, [n for n in dir(found) if not n.startswith("_")], n=3, cutoff=0.5)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise InputError(f"{spec}: {module_name} has no {part!r}.{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise InputTypeError(f"{spec} is a {type(found).__name__}, which cannot be called; a function is needed.")
    return _named(found, spec) if inspect.isroutine(found) or inspect.isclass(found) else found


def _named(function: Callable[..., Any], spec: str) -> Callable[..., Any]:
    """`function`, whose errors name it."""

    @functools.wraps(function, updated=())
    def call(*args: Any, **options: Any) -> Any:
        with user_code(spec):
            return function(*args, **options)

    return call


@contextmanager
def user_code(name: str) -> Iterator[None]:
    """Whatever code of the user's raises inside the block comes out as an `InputError` in one sentence.

    Example:
        >>> with user_code("mymodel:build"):
        ...     1 / 0
        Traceback (most recent call last):
        ...
        equilearn._check.InputError: mymodel:build raised ZeroDivisionError: division by zero
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        raise InputError(f"{name} raised {type(error).__name__}{f': {said}' if said else '.'}") from error


def _import(module_name: str, spec: str) -> Any:
    with _current_folder():
        try:
            return importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
                raise InputError(
                    f"{spec}: there is no module {error.name!r} where Python looks or in {Path.cwd()}. "
                    "Check the name, or change to the folder that holds it."
                ) from error
            raise InputError(
                f"{spec}: importing {module_name} needs {error.name!r}, which is not installed."
            ) from error
        except Exception as error:
            raise InputError(f"{spec}: importing {module_name} raised {type(error).__name__}: {error}") from error


@contextmanager
def _current_folder() -> Iterator[None]:
    """Let imports see the current folder, as `python -m` does but an installed command does not."""
    here = str(Path.cwd())
    if here in sys.path:
        yield
        return
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def task_from_function(spec: str) -> Task:
    """Call the function that `spec` names; it must return a `Task`, which is checked.

    Raises:
        InputError: as `load_function`, or an error within the function, or no `Task`.
    """
    task = load_function(spec)()
    if not isinstance(task, Task):
        raise InputTypeError(
            f"{spec} returned a {type(task).__name__}; an equilearn.Task is needed. "
            "equilearn.data.from_arrays(x, y) makes one."
        )
    return check_task(task)
