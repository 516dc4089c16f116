"""`Architecture`: a network of infinite width, and its two kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputError, InputTypeError, finite, positive_int, require
from equilearn.kernels.neural._conv import PixelScan, flattened, pixel_scan, pooled, pooled_diagonal
from equilearn.kernels.neural._dense import Scan, gram_, in_range, inner_products, scan
from equilearn.kernels.neural._layers import ROOT2, Activation, Conv, Dense, Flatten, GlobalAveragePool, Layer, ReLU

DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Architecture:
    """A network as its width goes to infinity: layers, their weights of variance `W_std^2 / fan_in`.

    Convolutions and activations first, then `Flatten` or `GlobalAveragePool`, then dense layers and activations; or
    these last alone. A dense or convolution layer stands before the first activation and between any two of them:
    the formulas are for Gaussian pre-activations.

    Weights are `W_std / sqrt(fan_in)` times standard normal parameters, biases `b_std` times such (the *NTK
    parametrisation*). `nngp` is the covariance of an output at random parameters; `ntk`, the inner product of its
    gradients with respect to those standard normal parameters, governs training by gradient flow. All outputs of
    the last layer have the same kernels and are independent.

    The dtype is that of the inputs, float64 or float32; take float64 where a linear system follows. Where the
    correlation of two inputs is within its rounding of 1 they count as collinear: angles below about 3e-8 (float64) or
    7e-4 (float32) are not told from 0, an error of the tangent kernel of about 1e-8 or 1e-4 of its value. The kernel
    of an input with itself is exact, and a zero input without bias has kernel 0.

    Args:
        layers: from input to output.

    Raises:
        InputError: layers in an order without a closed form (says which and why).

    Source: R. Novak et al., ICLR 2020, arXiv 1912.02803; S. Arora et al., NeurIPS 2019, arXiv 1904.11955. Angles by
    atan2 or arccos of clamped correlations, convolutions as separable sums.

    Example:
        >>> net = Architecture([Dense(1.0, 1.0), ReLU(), Dense(1.0, 1.0)])
        >>> x = torch.eye(3, dtype=torch.float64)[:2]
        >>> net.ntk(x)
        tensor([[2.3333, 1.9103],
                [1.9103, 2.3333]], dtype=torch.float64)
        >>> round(float(net.nngp(x)[0, 1]), 8)
        1.52533474
    """

    layers: tuple[Layer, ...]

    def __init__(self, layers: tuple[Layer, ...] | list[Layer]):
        if not isinstance(layers, tuple | list):
            raise InputTypeError(f"layers must be a list or tuple of layers, got {type(layers).__name__}.")
        object.__setattr__(self, "layers", tuple(layers))
        _check_order(self.layers)

    @classmethod
    def mlp(
        cls, hidden: int = 1, *, W_std: float = ROOT2, b_std: float = 0.1, activation: Activation | None = None
    ) -> Architecture:
        """A dense network of `hidden` hidden layers and a linear readout, all of the same standard deviations.

        Example:
            >>> Architecture.mlp(1)
            Dense(1.414,0.1)-ReLU-Dense(1.414,0.1)
        """
        positive_int(hidden, "hidden", 0)
        phi = ReLU() if activation is None else activation
        return cls([layer for _ in range(hidden) for layer in (Dense(W_std, b_std), phi)] + [Dense(W_std, b_std)])

    @classmethod
    def cnn(
        cls,
        hidden: int = 1,
        *,
        size: int = 3,
        padding: str = "circular",
        pool: bool = False,
        W_std: float = ROOT2,
        b_std: float = 0.1,
        readout: tuple[float, float] = (1.0, 0.0),
        activation: Activation | None = None,
    ) -> Architecture:
        """A network of `hidden` convolutions, a head that flattens (or pools) and a linear readout.

        Example:
            >>> Architecture.cnn(1, padding="same", pool=True)
            Conv(3,same,1.414,0.1)-ReLU-GlobalAveragePool-Dense(1,0)
        """
        positive_int(hidden, "hidden", 0)
        phi = ReLU() if activation is None else activation
        convs = [layer for _ in range(hidden) for layer in (Conv(size, padding, W_std, b_std), phi)]
        return cls([*convs, GlobalAveragePool() if pool else Flatten(), Dense(*readout)])

    @property
    def head(self) -> Flatten | GlobalAveragePool | None:
        """What makes vectors of images; None for a network of vectors."""
        return next((layer for layer in self.layers if isinstance(layer, Flatten | GlobalAveragePool)), None)

    @property
    def pixel_layers(self) -> tuple[Conv | Activation, ...]:
        """The layers before the head."""
        found = self.layers[: self.layers.index(self.head)] if self.head is not None else ()
        return cast("tuple[Conv | Activation, ...]", found)

    @property
    def vector_layers(self) -> tuple[Dense | Activation, ...]:
        """The layers behind the head."""
        found = self.layers if self.head is None else self.layers[self.layers.index(self.head) + 1 :]
        return cast("tuple[Dense | Activation, ...]", found)

    def nngp(self, x: Float[Tensor, "N *shape"], z: Float[Tensor, "M *shape"] | None = None) -> Float[Tensor, "N M"]:
        """`E f(x_i) f(z_j)` over random parameters; with `z=None` among the rows of `x`.

        Args:
            x, z: vectors `(N, D)`, or images `(N, C, H, W)` for a network with a head.

        Raises:
            InputError: other shapes or dtypes, NaN, or inputs so large that the kernel overflows.

        Cost: dense layers O(N M (D + depth)); convolutions O(N M depth k P) for k x k kernels and P pixels with a
        flattening head, P times that with a pooling head. Memory: the result and some blocks that stay in the
        cache. With `z=None` half of it all.
        """
        found = self._gram(x, z, nngp=True, ntk=False)[0]
        return cast(Tensor, found)

    def ntk(self, x: Float[Tensor, "N *shape"], z: Float[Tensor, "M *shape"] | None = None) -> Float[Tensor, "N M"]:
        """The neural tangent kernel, the inner products of gradients `<df(x_i), df(z_j)>`; as `nngp` otherwise."""
        found = self._gram(x, z, nngp=False, ntk=True)[1]
        return cast(Tensor, found)

    def kernels(
        self, x: Float[Tensor, "N *shape"], z: Float[Tensor, "M *shape"] | None = None
    ) -> tuple[Float[Tensor, "N M"], Float[Tensor, "N M"]]:
        """`nngp` and `ntk` for the price of the second."""
        return cast("tuple[Tensor, Tensor]", self._gram(x, z, nngp=True, ntk=True))

    def diagonal(self, x: Float[Tensor, "N *shape"]) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        """`nngp` and `ntk` of every input with itself. O(N depth D); O(N depth P^2) with a pooling head.

        Example:
            >>> net = Architecture.mlp(2, b_std=0.0)  # nngp: 2 |x|^2 / D, and ntk three times that
            >>> net.diagonal(torch.tensor([[3.0, 4.0]], dtype=torch.float64))[1]
            tensor([75.0000], dtype=torch.float64)
        """
        x = self.check(x)
        start = self._start(x)
        if start is None:
            flat = x.flatten(1)
            q = torch.linalg.vector_norm(flat * flat.shape[1] ** -0.5, dim=1).square()
            in_range(q)
            found = scan(self.vector_layers, q, torch.zeros_like(q))
        else:
            found = scan(self.vector_layers, *self.head_diagonal(start))
        return found.nngp, found.theta

    def check(self, x: Tensor, name: str = "x") -> Tensor:
        """`x`, detached, where this network can read it.

        Raises:
            InputError: as `nngp`.
        """
        if not isinstance(x, Tensor) or x.dtype not in DTYPES:
            given = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise InputTypeError(f"{name} must be a tensor of float64 or float32, got {given}; try {name}.double().")
        if self.head is None:
            hint = " Put Flatten() first to read images as vectors." if x.ndim == 4 else ""
            require(x.ndim == 2, f"{self} reads vectors (N, D), got {name} of shape {tuple(x.shape)}.{hint}")
        else:
            fits = x.ndim == 4 or (x.ndim == 2 and isinstance(self.head, Flatten) and not self.pixel_layers)
            require(fits, f"{self} reads images (N, C, H, W), got {name} of shape {tuple(x.shape)}.")
        require(
            0 not in x.shape[1:],
            f"{name} holds samples without entries: its shape is {tuple(x.shape)}.",
        )
        x = x.detach()
        return x if bool(torch.isfinite(x.sum())) else finite(x, name)

    def _gram(self, x: Tensor, z: Tensor | None, *, nngp: bool, ntk: bool) -> tuple[Tensor | None, Tensor | None]:
        x = self.check(x)
        other = x if z is None else self.check(z, "z")
        require(
            x.shape[1:] == other.shape[1:] and x.dtype == other.dtype and x.device == other.device,
            f"x and z must be alike: x has samples of shape {tuple(x.shape[1:])} ({x.dtype}, {x.device}), z "
            f"{tuple(other.shape[1:])} ({other.dtype}, {other.device}).",
        )
        start = self._start(x)
        if start is None:
            fill, q1, q2 = inner_products(x.flatten(1), None if z is None else other.flatten(1))
            left = scan(self.vector_layers, q1, torch.zeros_like(q1))
            right = left if z is None else scan(self.vector_layers, q2, torch.zeros_like(q2))
            k = x.new_empty(len(x), len(other)) if nngp else None
            theta = x.new_empty(len(x), len(other)) if ntk else None
            gram_(self.vector_layers, fill, left, right, k, theta, symmetric=z is None, first=True)
            return k, theta
        return self._image_gram(start, None if z is None else pixel_scan(self.pixel_layers, other), ntk)

    def _image_gram(self, left: PixelScan, right: PixelScan | None, ntk: bool) -> tuple[Tensor, Tensor | None]:
        symmetric = right is None
        right = left if right is None else right
        head = flattened if isinstance(self.head, Flatten) else pooled
        nngp, theta = head(self.pixel_layers, left, right, tangent=ntk, symmetric=symmetric)
        first = self.head_scan(left, nngp if symmetric else None, theta)
        second = first if symmetric else self.head_scan(right)
        gram_(self.vector_layers, keep, first, second, nngp, theta, symmetric=symmetric)
        return nngp, theta

    def _start(self, x: Tensor) -> PixelScan | None:
        """The variances of pixels, for a network whose head comes after the input at least in effect."""
        plain = self.head is None or (isinstance(self.head, Flatten) and not self.pixel_layers)
        return None if plain else pixel_scan(self.pixel_layers, x)

    def head_diagonal(self, images: PixelScan) -> tuple[Tensor, Tensor]:
        """The kernels of images with themselves behind the head, `(N,)` each."""
        if isinstance(self.head, Flatten):
            return images.flattened()
        return pooled_diagonal(self.pixel_layers, images)

    def head_scan(self, images: PixelScan, nngp: Tensor | None = None, theta: Tensor | None = None) -> Scan:
        """The vector layers of every image with itself; pooling needs pairs of pixels, which a Gram matrix has."""
        if isinstance(self.head, GlobalAveragePool) and nngp is not None:
            q = nngp.diagonal().clone()
            return scan(self.vector_layers, q, torch.zeros_like(q) if theta is None else theta.diagonal().clone())
        needed = isinstance(self.head, Flatten) or any(isinstance(layer, Activation) for layer in self.vector_layers)
        if needed:
            return scan(self.vector_layers, *self.head_diagonal(images))
        nothing = images.images.new_zeros(images.images.shape[3])
        return scan(self.vector_layers, nothing, nothing)

    def __repr__(self) -> str:
        return "-".join(_describe(layer) for layer in self.layers)


def checked(architecture: object) -> Architecture:
    """`architecture`, which must be one."""
    if not isinstance(architecture, Architecture):
        raise InputTypeError(
            f"An Architecture is needed, such as Architecture.mlp(2), got {type(architecture).__name__}; "
            "architecture_of reads one off a torch.nn.Sequential."
        )
    return architecture


def keep(block: Tensor, rows: slice, columns: slice) -> None:
    """A `Fill` for covariances that are there already."""


def _describe(layer: Layer) -> str:
    values = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in vars(layer).values()]
    return type(layer).__name__ + (f"({','.join(values)})" if values else "")


def _check_order(layers: tuple[Layer, ...]) -> None:
    require(len(layers) > 0, "An architecture needs at least one layer.")
    gaussian, images, flat = False, True, False
    heads = sum(isinstance(layer, Flatten | GlobalAveragePool) for layer in layers)
    require(heads <= 1, f"An architecture has one head at most, Flatten() or GlobalAveragePool(), got {heads}.")
    for place, layer in enumerate(layers):
        where = f"Layer {place} ({layer!r})"
        if isinstance(layer, Conv):
            require(images and not flat, f"{where} stands behind the head or a dense layer: put convolutions first.")
            gaussian = True
        elif isinstance(layer, Dense):
            require(not (images and heads and not flat), f"{where} stands before the head: put it behind.")
            gaussian, images = True, False
        elif isinstance(layer, Flatten | GlobalAveragePool):
            require(images, f"{where} stands behind a dense layer: put it before.")
            flat, images = True, False
            gaussian = gaussian and isinstance(layer, GlobalAveragePool)
        elif isinstance(layer, Activation):
            require(
                gaussian,
                f"{where} acts on what is not Gaussian: it needs a Dense or Conv layer right before it"
                + (" (an activation goes before Flatten(), not behind)." if flat else "."),
            )
            gaussian = False
        else:
            raise InputError(
                f"{where} is no layer with a closed form. Known: Dense, Conv, ReLU, Erf, Flatten, GlobalAveragePool."
            )
    if any(isinstance(layer, Conv) for layer in layers):
        require(heads == 1, "A network with convolutions needs a head, Flatten() or GlobalAveragePool(), before dense.")
