"""Data: tasks from arrays, files, functions, and built-in ones; splits and subsets."""

from equilearn.data._arrays import check_task, from_arrays
from equilearn.data._builtin import digits, minkowski
from equilearn.data._charges import simulate_charges
from equilearn.data._exp import exp_graphs
from equilearn.data._function import load_function, user_code
from equilearn.data._graph_tasks import cycles, pattern
from equilearn.data._load import load, load_inputs
from equilearn.data._nbody import nbody
from equilearn.data._pyg import from_pyg, to_pyg
from equilearn.data._small_graphs import automorphism_graphs, graph8c, wl_equal_pairs
from equilearn.data._split import subsample
from equilearn.data._task import Kind, Task

__all__ = [
    "Kind",
    "Task",
    "automorphism_graphs",
    "check_task",
    "cycles",
    "digits",
    "exp_graphs",
    "from_arrays",
    "from_pyg",
    "graph8c",
    "load",
    "load_function",
    "load_inputs",
    "minkowski",
    "nbody",
    "pattern",
    "simulate_charges",
    "subsample",
    "to_pyg",
    "user_code",
    "wl_equal_pairs",
]
