"""Check the shapes in signatures at run time, in tests only: users pay nothing.

`install("equilearn")` wraps every function whose annotations name an array (`Float[Tensor, "B N"]`, ...) as its
module is imported. jaxtyping has a hook of its own, which checks all annotations. This one leaves the others alone,
and lets the library's own error through where a test passes bad input on purpose: only a call that *succeeds*
against its signature is a breach.
"""

from __future__ import annotations

import ast
import functools
import importlib.abc
import importlib.machinery
import re
import sys
import types
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from typing import Any

from beartype import beartype
from jaxtyping import AnnotationError, TypeCheckError, jaxtyped

ARRAY = re.compile(r"\b(Float|Float32|Float64|Int|Int64|Integer|Bool|Complex|Num|Real|Shaped|Inexact)\[")
NAME = "__check_shapes__"


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, with the shapes that its array annotations state checked on every call."""
    checked: Callable[..., Any] | None = None

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        nonlocal checked
        if checked is None:  # at the first call, when every name in the annotations exists
            checked = _with_array_annotations(function)
        try:
            return checked(*args, **kwargs)
        except TypeCheckError:
            function(*args, **kwargs)  # the error that a user would see, if there is one, comes first
            raise
        except AnnotationError:  # says more than can be checked, such as "H*W" where neither H nor W is an axis
            checked = function
            return function(*args, **kwargs)

    return wrapper


def _with_array_annotations(function: Callable[..., Any]) -> Callable[..., Any]:
    """A copy that keeps annotations of arrays alone, evaluated, behind the type checker."""
    assert isinstance(function, types.FunctionType)
    code, names = function.__code__, function.__globals__
    copy = types.FunctionType(code, names, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    copy.__annotations__ = {}
    for name, annotation in function.__annotations__.items():
        if isinstance(annotation, str) and ARRAY.search(annotation):
            try:
                copy.__annotations__[name] = eval(annotation, names)
            except NameError:  # imported for type checkers alone
                continue
    return jaxtyped(copy, typechecker=beartype) if copy.__annotations__ else function


class _Decorate(ast.NodeTransformer):
    """Put `check_shapes` innermost on every function whose signature names an array."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        annotations = [a.annotation for a in arguments] + [node.returns]
        abstract = any("abstractmethod" in ast.unparse(d) or "overload" in ast.unparse(d) for d in node.decorator_list)
        if not abstract and any(a is not None and ARRAY.search(ast.unparse(a)) for a in annotations):
            node.decorator_list.append(ast.copy_location(ast.Name(NAME, ast.Load()), node))
        return node


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> types.CodeType:
        """Compiled anew each time: the cache holds the module without checks."""
        path = self.get_filename(fullname)
        tree = _Decorate().visit(ast.parse(self.get_data(path), path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__dict__[NAME] = check_shapes
        super().exec_module(module)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, package: str):
        self.package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.package and not fullname.startswith(f"{self.package}."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def install(package: str) -> None:
    """Check what `package` and its submodules state, from their next import on."""
    if not any(isinstance(finder, _Finder) and finder.package == package for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(package))
