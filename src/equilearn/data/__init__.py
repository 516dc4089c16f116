"""Data: tasks from arrays, files, functions, and built-in ones; splits and subsets."""

from equilearn.data._arrays import check_task, from_arrays
from equilearn.data._builtin import digits, minkowski
from equilearn.data._function import load_function
from equilearn.data._load import load
from equilearn.data._split import subsample
from equilearn.data._task import Kind, Task

__all__ = [
    "Kind",
    "Task",
    "check_task",
    "digits",
    "from_arrays",
    "load",
    "load_function",
    "minkowski",
    "subsample",
]
