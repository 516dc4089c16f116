"""Data: tasks from arrays, files, functions, and built-in ones; splits and subsets."""

from equilearn.data._arrays import check_task, from_arrays
from equilearn.data._builtin import digits, minkowski
from equilearn.data._function import load_function, user_code
from equilearn.data._load import load, load_inputs
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
    "load_inputs",
    "minkowski",
    "subsample",
    "user_code",
]
