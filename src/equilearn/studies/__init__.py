"""Studies: grids of independent trials, the store of their rows, the claims they test.

`run_trials` runs a grid, `Store` keeps its rows, `LocalExecutor` spreads it over processes.
A `Study` is a grid with claims; `run_study` runs one and writes `store.db` and `summary.json`.
"""

from equilearn.studies._executor import Executor, InlineExecutor, LocalExecutor, WorkerDied, cores
from equilearn.studies._registry import get, list_studies, names, register
from equilearn.studies._run import environment, run_study, summarize
from equilearn.studies._runner import run_trials
from equilearn.studies._snapshots import pack_matrix, unpack_matrix
from equilearn.studies._store import Store, config_key
from equilearn.studies._study import Claim, Study

__all__ = [
    "Claim",
    "Executor",
    "InlineExecutor",
    "LocalExecutor",
    "Store",
    "Study",
    "WorkerDied",
    "config_key",
    "cores",
    "environment",
    "get",
    "list_studies",
    "names",
    "pack_matrix",
    "register",
    "run_study",
    "run_trials",
    "summarize",
    "unpack_matrix",
]
