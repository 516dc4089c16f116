"""Representations: what a group does to vectors, and every equivariant linear map between two.

>>> import equilearn.reps as reps
>>> from equilearn.groups import SO
>>> V = reps.defining(SO(3))
>>> reps.intertwiners(V * V, V).shape  # vectors times vectors to vectors: the cross product
torch.Size([1, 3, 9])
"""

from equilearn.reps._algebra import (
    DirectSum,
    Dual,
    TensorProduct,
    direct_sum,
    dual,
    multiple,
    tensor_product,
)
from equilearn.reps._base import Rep
from equilearn.reps._basic import defining, from_function, regular, trivial
from equilearn.reps._decompose import Decomposition, decompose, irrep_type
from equilearn.reps._finite import CharacterTable, character_table
from equilearn.reps._fourier import GroupFourier, IrrepStack
from equilearn.reps._intertwiners import (
    IntertwinerBlock,
    equivariant_part,
    intertwiner_blocks,
    intertwiners,
    invariants,
)
from equilearn.reps._irreps import irrep, irreps
from equilearn.reps._permutation import permutation
from equilearn.reps._powers import SymmetricPower, symmetric_power
from equilearn.reps._pullback import factor, restrict

__all__ = [
    "CharacterTable",
    "Decomposition",
    "DirectSum",
    "Dual",
    "GroupFourier",
    "IntertwinerBlock",
    "IrrepStack",
    "Rep",
    "SymmetricPower",
    "TensorProduct",
    "character_table",
    "decompose",
    "defining",
    "direct_sum",
    "dual",
    "equivariant_part",
    "factor",
    "from_function",
    "intertwiner_blocks",
    "intertwiners",
    "invariants",
    "irrep",
    "irrep_type",
    "irreps",
    "multiple",
    "permutation",
    "regular",
    "restrict",
    "symmetric_power",
    "tensor_product",
    "trivial",
]
