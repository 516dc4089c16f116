"""Every equivariant linear map between two representations, as one trainable layer."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from equilearn._check import InputError, InputTypeError, require
from equilearn.nn._exact import ExpandedWeight
from equilearn.reps import IntertwinerBlock, Rep, intertwiner_blocks, trivial

FACTORED_GAIN = 2.0
"""How many times fewer operations the block-wise product must need before it is preferred."""


class EquivariantLinear(ExpandedWeight):
    """`y = W x + b` with `W rho_in(g) = rho_out(g) W` and `rho_out(g) b = b`, for any group.

    Arguments:
        rep_in, rep_out: representations of one group. The last axis of the input has
            `rep_in.dim` entries, that of the output `rep_out.dim`.
        bias: whether to add a trainable invariant vector (zero at first).
        generator: for the initial weights.

    The trainable weight holds one number for each copy of an input summand, copy of an output
    summand and basis map between them. It starts Gaussian, with the variance at which white
    inputs give outputs of the same mean square, summand by summand.

    Raises `InputError` where the groups differ, where nothing but zero is equivariant, and in
    `forward` where the last axis does not fit.

    Cost a vector: O(D_out D_in), or summand by summand where that takes half the operations.

    Source: Finzi, Welling & Wilson 2021, section 3 (bases by constraint solving).

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> V = eq.reps.defining(eq.SO(3))
        >>> layer = eq.nn.EquivariantLinear(4 * V, 2 * V + eq.reps.trivial(eq.SO(3)))
        >>> layer(torch.randn(5, 12)).shape
        torch.Size([5, 7])
        >>> sum(p.numel() for p in layer.parameters())  # 2 x 4 multiples of the identity, one bias
        9
    """

    def __init__(self, rep_in: Rep, rep_out: Rep, bias: bool = True, *, generator: torch.Generator | None = None):
        super().__init__()
        check_reps(rep_in, rep_out)
        self.rep_in, self.rep_out = rep_in, rep_out
        self._blocks = _Blocks(self, "basis", intertwiner_blocks(rep_in, rep_out), rep_in.dim, rep_out.dim)
        self.weight = nn.Parameter(torch.empty(self._blocks.size))
        with torch.no_grad():
            noise = torch.randn(self._blocks.size, generator=generator, dtype=torch.float64)
            self.weight.copy_(noise * self._blocks.deviations())
        self.bias: nn.Parameter | None = None
        fixed = intertwiner_blocks(trivial(rep_out.group), rep_out) if bias else ()
        self._bias_blocks = _Blocks(self, "fixed", fixed, 1, rep_out.dim)
        if self._bias_blocks.size:
            self.bias = nn.Parameter(torch.zeros(self._bias_blocks.size))
        require(
            self._blocks.size + self._bias_blocks.size > 0,
            f"The only equivariant linear map {rep_in.name} -> {rep_out.name} of {rep_in.group} is zero. "
            "Products lead further: TensorProductLayer, EquivariantMLP.",
        )
        self.factored = FACTORED_GAIN * self._blocks.cost() < rep_in.dim * rep_out.dim

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D_out"]:
        require(
            x.ndim >= 1 and x.shape[-1] == self.rep_in.dim,
            f"This layer takes vectors of {self.rep_in.name}, of length {self.rep_in.dim}; got shape {tuple(x.shape)}.",
        )
        bias = None
        if self.bias is not None:
            bias = self._bias_blocks.matrix(self, self.bias).squeeze(-1)
        if not self.factored:
            return functional.linear(x, self.expanded(), bias)
        y = self._blocks.apply(self, self.weight, x)
        return y if bias is None else y + bias

    def matrix(self) -> Float[Tensor, "D_out D_in"]:
        """The map as a matrix."""
        return self._expand(self.weight)

    def _expand(self, weight: Tensor) -> Float[Tensor, "D_out D_in"]:
        return self._blocks.matrix(self, weight)

    def extra_repr(self) -> str:
        return f"{self.rep_in.name} -> {self.rep_out.name}, {self._blocks.size} maps, bias={self.bias is not None}"


class _Blocks:
    """Where the coefficients of a flat weight act: plain numbers, the bases live in the module."""

    def __init__(
        self, module: ExpandedWeight, name: str, blocks: tuple[IntertwinerBlock, ...], dim_in: int, dim_out: int
    ):
        self.dim_in, self.dim_out = dim_in, dim_out
        self.names = [f"{name}_{i}" for i in range(len(blocks))]
        # The bases are registered constants of the module; what stays here is geometry only.
        self.geometry = [
            (b.in_offset, b.in_multiplicity, b.in_dim, b.out_offset, b.out_multiplicity, b.out_dim, len(b.basis))
            for b in blocks
        ]
        for constant, block in zip(self.names, blocks, strict=True):
            module.register_constant(constant, block.basis)
        self.sizes = [m_out * m_in * k for _, m_in, _, _, m_out, _, k in self.geometry]
        self.size = sum(self.sizes)

    def deviations(self) -> Float[Tensor, "size"]:
        """Standard deviations that keep the mean square of each output summand.

        A copy of a summand of dimension d gets `sigma^2 |basis|^2 = sigma^2 N` from its N
        coefficients in all, to spread over d entries: sigma^2 = d / N.
        """
        total: dict[int, int] = {}
        for _, m_in, _, out, _, _, k in self.geometry:
            total[out] = total.get(out, 0) + m_in * k
        parts = [
            torch.full((size,), (d_out / total[out]) ** 0.5, dtype=torch.float64)
            for (_, _, _, out, _, d_out, _), size in zip(self.geometry, self.sizes, strict=True)
        ]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)

    def cost(self) -> int:
        """Multiplications a vector takes summand by summand."""
        return sum(k * d_out * m_in * (d_in + m_out) for _, m_in, d_in, _, m_out, d_out, k in self.geometry)

    def _pieces(self, module: nn.Module, weight: Tensor) -> list[tuple[tuple[int, ...], Tensor, Tensor]]:
        """Geometry, coefficients `(m_out, m_in, K)` and basis `(K, d_out, d_in)` of each block."""
        return [
            (place, part.view(place[4], place[1], place[6]), getattr(module, name))
            for place, part, name in zip(self.geometry, weight.split(self.sizes), self.names, strict=True)
        ]

    def matrix(self, module: nn.Module, weight: Tensor) -> Float[Tensor, "D_out D_in"]:
        """The whole map, zeros where no equivariant map exists."""
        matrix = weight.new_zeros(self.dim_out, self.dim_in)
        for (start, m_in, d_in, out, m_out, d_out, _), part, basis in self._pieces(module, weight):
            block = torch.einsum("bak,kij->biaj", part, basis).reshape(m_out * d_out, m_in * d_in)
            matrix[out : out + m_out * d_out, start : start + m_in * d_in] = block
        return matrix

    def apply(
        self, module: nn.Module, weight: Tensor, x: Float[Tensor, "*batch D_in"]
    ) -> Float[Tensor, "*batch D_out"]:
        """`W x` without the matrix."""
        y = x.new_zeros(*x.shape[:-1], self.dim_out)
        for (start, m_in, d_in, out, m_out, d_out, _), part, basis in self._pieces(module, weight):
            vectors = x[..., start : start + m_in * d_in].unflatten(-1, (m_in, d_in))
            mapped = torch.einsum("...ai,kji->...jak", vectors, basis)  # (*batch, d_out, m_in, K)
            mixed = mapped.flatten(-2) @ part.flatten(1).mT  # (*batch, d_out, m_out)
            place = slice(out, out + m_out * d_out)
            y[..., place] = y[..., place] + mixed.mT.flatten(-2)
        return y


def check_reps(*reps: Rep) -> None:
    """All are representations, of one group."""
    for rep in reps:
        if not isinstance(rep, Rep):
            raise InputTypeError(f"A representation such as reps.defining(group) is needed, got {type(rep).__name__}.")
        if rep.group != reps[0].group:
            raise InputError(
                f"Both representations must belong to one group; {reps[0].name} belongs to {reps[0].group}, "
                f"{rep.name} to {rep.group}. Use reps.restrict or reps.factor."
            )
