"""Groups: finite, permutations, matrix groups, affine groups, products.

Elements are batched tensors (see `Group`), never objects. `parse` reads a group from its name.
"""

from equilearn.groups._abelian import Abelian, Cyclic, Dihedral, GeneralizedDihedral, Quaternion
from equilearn.groups._affine import AffineGroup, Euclidean, SpecialEuclidean, Translation
from equilearn.groups._base import ENUMERATION_LIMIT, Element, Group, Shape, as_shape
from equilearn.groups._finite import FiniteGroup
from equilearn.groups._index import IndexGroup
from equilearn.groups._linear import GL, SL, Scaling
from equilearn.groups._lorentz import Lorentz
from equilearn.groups._matrix import MatrixGroup
from equilearn.groups._orbits import fixed_points, on_pairs, orbits, stabilizer
from equilearn.groups._orthogonal import SO, O
from equilearn.groups._parse import parse
from equilearn.groups._product import Product, factors_of
from equilearn.groups._structure import (
    cayley_table,
    center,
    conjugacy_classes,
    cosets,
    element_orders,
    is_normal,
    subgroup,
    subgroups,
)
from equilearn.groups._symmetric import (
    Alternating,
    PermutationGroup,
    Symmetric,
    permutation_matrix,
    permutation_sign,
)

__all__ = [
    "ENUMERATION_LIMIT",
    "GL",
    "SL",
    "SO",
    "Abelian",
    "AffineGroup",
    "Alternating",
    "Cyclic",
    "Dihedral",
    "Element",
    "Euclidean",
    "FiniteGroup",
    "GeneralizedDihedral",
    "Group",
    "IndexGroup",
    "Lorentz",
    "MatrixGroup",
    "O",
    "PermutationGroup",
    "Product",
    "factors_of",
    "Quaternion",
    "Scaling",
    "Shape",
    "SpecialEuclidean",
    "Symmetric",
    "Translation",
    "as_shape",
    "cayley_table",
    "center",
    "conjugacy_classes",
    "cosets",
    "element_orders",
    "fixed_points",
    "is_normal",
    "on_pairs",
    "orbits",
    "parse",
    "permutation_matrix",
    "permutation_sign",
    "stabilizer",
    "subgroup",
    "subgroups",
]
