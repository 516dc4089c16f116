"""Data: tasks from arrays, files, functions, and built-in ones; splits and subsets."""

from equilearn.data._arrays import check_task, from_arrays
from equilearn.data._builtin import digits, minkowski, modular
from equilearn.data._cayley import OperationTable, modular_table, operation_table
from equilearn.data._cayley_splits import (
    fixed_point_split,
    move_back,
    move_pairs,
    move_random,
    orbit_closed_split,
    random_split,
    subgroup_split,
)
from equilearn.data._charges import simulate_charges
from equilearn.data._exp import exp_graphs
from equilearn.data._function import load_function, user_code
from equilearn.data._graph_tasks import cycles, pattern
from equilearn.data._load import load, load_inputs, load_split
from equilearn.data._nbody import nbody
from equilearn.data._pyg import from_pyg, to_pyg
from equilearn.data._small_graphs import automorphism_graphs, graph8c, wl_equal_pairs
from equilearn.data._split import subsample
from equilearn.data._task import Kind, Task
from equilearn.data.fields import (
    FieldTask,
    Gridded,
    GridSet,
    Normalizer,
    PointSet,
    Stations,
    from_stations,
    from_xarray,
)

__all__ = [
    "FieldTask",
    "GridSet",
    "Gridded",
    "Kind",
    "Normalizer",
    "OperationTable",
    "PointSet",
    "Stations",
    "Task",
    "automorphism_graphs",
    "check_task",
    "cycles",
    "digits",
    "exp_graphs",
    "fixed_point_split",
    "from_arrays",
    "from_pyg",
    "from_stations",
    "from_xarray",
    "graph8c",
    "load",
    "load_function",
    "load_inputs",
    "load_split",
    "minkowski",
    "modular",
    "modular_table",
    "move_back",
    "move_pairs",
    "move_random",
    "nbody",
    "operation_table",
    "orbit_closed_split",
    "pattern",
    "random_split",
    "simulate_charges",
    "subgroup_split",
    "subsample",
    "to_pyg",
    "user_code",
    "wl_equal_pairs",
]
