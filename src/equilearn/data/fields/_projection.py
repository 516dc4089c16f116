"""The part of a flow that neither gathers nor spreads, in a closed box with an obstacle."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equilearn._check import require


class Flow(NamedTuple):
    """Velocities on a staggered grid, each component at the faces of cells that it crosses."""

    u: Tensor
    """To the right, `(S, H, W + 1)`."""
    v: Tensor
    """Upwards, `(S, H + 1, W)`; row 0 is the bottom."""


class Projection:
    """Makes flows free of divergence by a pressure that no wall feels: `u - grad p` with `laplace p = div u`.

    The matrix is factored once; every flow after that costs a solve.

    Args:
        fluid: `(H, W)`, False in the obstacle. The box around it is closed.

    Raises:
        InputError: no cell of fluid.

    Cost: the factorization of H W unknowns once, O(H W log(H W)) a flow after that.

    Example:
        >>> box = Projection(torch.ones(8, 8, dtype=torch.bool))
        >>> wild = Flow(torch.rand(3, 8, 9).double(), torch.rand(3, 9, 8).double())
        >>> bool(box.divergence(box(wild)).abs().max() < 1e-12)
        True
    """

    def __init__(self, fluid: Bool[Tensor, "H W"]):
        require(fluid.ndim == 2 and bool(fluid.any()), "The box needs at least one cell of fluid, (H, W) of them.")
        self.fluid = fluid
        # Faces between two cells of fluid: nothing crosses the others.
        self.open_u = torch.zeros(fluid.shape[0], fluid.shape[1] + 1, dtype=torch.bool)
        self.open_v = torch.zeros(fluid.shape[0] + 1, fluid.shape[1], dtype=torch.bool)
        self.open_u[:, 1:-1] = fluid[:, 1:] & fluid[:, :-1]
        self.open_v[1:-1] = fluid[1:] & fluid[:-1]
        self._free, self._factors = _factored(fluid, self.open_u[:, 1:-1], self.open_v[1:-1])

    def divergence(self, flow: Flow) -> Float[Tensor, "S H W"]:
        """What leaves each cell, zero in the obstacle."""
        return ((flow.u[..., 1:] - flow.u[..., :-1]) + (flow.v[:, 1:] - flow.v[:, :-1])) * self.fluid

    def closed(self, flow: Flow) -> Flow:
        """With nothing crossing walls."""
        return Flow(flow.u * self.open_u, flow.v * self.open_v)

    def __call__(self, flow: Flow) -> Flow:
        """The nearest flow without divergence that crosses no wall."""
        u, v = self.closed(flow)
        rhs = -self.divergence(Flow(u, v)).flatten(1)[:, self._free]
        pressure = torch.zeros(len(u), self.fluid.numel(), dtype=u.dtype)
        if self._factors is not None and len(u):
            pressure[:, self._free] = torch.from_numpy(self._factors.solve(np.ascontiguousarray(rhs.numpy().T)).T)
        p = pressure.view(-1, *self.fluid.shape)
        u, v = u.clone(), v.clone()
        u[..., 1:-1] -= p[..., 1:] - p[..., :-1]
        v[:, 1:-1] -= p[:, 1:] - p[:, :-1]
        return self.closed(Flow(u, v))


def _factored(fluid: Tensor, right: Tensor, up: Tensor) -> tuple[Tensor, Any]:
    """The unknown pressures (all but one for each pool of fluid, which is 0), and the factored matrix of -laplace."""
    from scipy.sparse import coo_matrix, csgraph, csr_matrix, diags
    from scipy.sparse.linalg import splu

    n = fluid.numel()
    number = np.arange(n).reshape(fluid.shape)
    a = np.concatenate([number[:, :-1][right.numpy()], number[:-1][up.numpy()]])
    b = np.concatenate([number[:, 1:][right.numpy()], number[1:][up.numpy()]])
    ones = np.ones(len(a))
    links = coo_matrix((np.concatenate([ones, ones]), (np.concatenate([a, b]), np.concatenate([b, a]))), (n, n)).tocsr()
    pools = csgraph.connected_components(links, directed=False)[1]
    free = fluid.flatten().numpy().copy()
    free[np.unique(pools, return_index=True)[1]] = False
    chosen = np.flatnonzero(free)
    if len(chosen) == 0:
        return torch.from_numpy(chosen), None
    degrees = np.asarray(links.sum(0)).flatten()
    matrix = csr_matrix(diags(degrees) - links)[chosen][:, chosen].tocsc()
    factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    return torch.from_numpy(chosen), factors
