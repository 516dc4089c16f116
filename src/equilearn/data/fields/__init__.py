"""Fields observed here and there: containers, simulators, loaders."""

from equilearn.data.fields._gp_families import Topography, gibbs_tasks, topography_tasks
from equilearn.data.fields._gp_tasks import GPTasks
from equilearn.data.fields._gridded import Gridded
from equilearn.data.fields._joined import join
from equilearn.data.fields._kernels import RBF, Gibbs, Kernel, Matern, Periodic
from equilearn.data.fields._netcdf import write_example_fields, write_netcdf
from equilearn.data.fields._normalizer import Normalizer
from equilearn.data.fields._posterior import Mixture, condition
from equilearn.data.fields._sets import FieldTask, GridSet, PointSet, collate
from equilearn.data.fields._smoke import smoke_fields, smoke_tasks
from equilearn.data.fields._station_csv import from_stations
from equilearn.data.fields._stations import Stations
from equilearn.data.fields._xarray import from_xarray

__all__ = [
    "FieldTask",
    "GPTasks",
    "Gibbs",
    "GridSet",
    "Gridded",
    "Kernel",
    "Matern",
    "Mixture",
    "Normalizer",
    "Periodic",
    "PointSet",
    "RBF",
    "Stations",
    "Topography",
    "collate",
    "condition",
    "from_stations",
    "from_xarray",
    "gibbs_tasks",
    "join",
    "smoke_fields",
    "smoke_tasks",
    "topography_tasks",
    "write_example_fields",
    "write_netcdf",
]
