"""Fields observed here and there: containers, simulators, loaders."""

from equilearn.data.fields._gp_families import Topography, gibbs_tasks, topography_tasks
from equilearn.data.fields._gp_tasks import GPTasks
from equilearn.data.fields._kernels import RBF, Gibbs, Kernel, Matern, Periodic
from equilearn.data.fields._posterior import Mixture, condition
from equilearn.data.fields._sets import FieldTask, GridSet, PointSet, collate

__all__ = [
    "FieldTask",
    "GPTasks",
    "Gibbs",
    "GridSet",
    "Kernel",
    "Matern",
    "Mixture",
    "Periodic",
    "PointSet",
    "RBF",
    "Topography",
    "collate",
    "condition",
    "gibbs_tasks",
    "topography_tasks",
]
