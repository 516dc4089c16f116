"""Kernels of images with all shifts of each other: what a group-aware solver needs, and no more."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import one_of, require
from equilearn.kernels.neural._architecture import Architecture, checked, keep
from equilearn.kernels.neural._conv import PixelScan, all_shifts, pair_means, pixel_scan
from equilearn.kernels.neural._dense import gram_, inner_products, scan
from equilearn.kernels.neural._layers import Conv, GlobalAveragePool

AXES = ("horizontal", "vertical", "both")
KERNELS = ("ntk", "nngp")


def shift_kappa(
    x: Float[Tensor, "m C H W"], architecture: Architecture, *, shifts: str = "horizontal", kernel: str = "ntk"
) -> Float[Tensor, "m m G"]:
    """`kappa[s, t, d] = k(x_s, shift_d x_t)` for all circular shifts d: the Gram matrix of m full orbits, of which it
    has m G rows, without its repetitions.

    The displacements between two images are what a convolution keeps apart, so that these kernels cost what those of
    the images alone do, G times over; half of them, `kappa[s, t, -d] = kappa[t, s, d]`, come free. `block_solve`
    takes the result as it is, with the Fourier transform of C_W, C_H, or the product of C_H and C_W.

    Args:
        x: one image of each orbit.
        architecture: a network whose kernel circular shifts leave alone: convolutions of circular padding, or none.
        shifts: `"horizontal"`, G = W shifts `torch.roll(x, d, -1)`; `"vertical"`, G = H; `"both"`, G = H W, rows
            first.
        kernel: `"ntk"` or `"nngp"`.

    Returns:
        `(m, m, G)`. Constant along G for a pooling head: all images of an orbit are one point.

    Raises:
        InputError: zero padding (the layer is named), or what `Architecture.ntk` refuses.

    Cost: O(m^2 / 2 G P depth k) for P pixels, G times a Gram matrix without convolutions, and one with a pooling head.
    Memory: twice the result, three times with convolutions.

    Example:
        >>> x = torch.randn(2, 1, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> net = Architecture.cnn(2)
        >>> kappa = shift_kappa(x, net)
        >>> kappa.shape
        torch.Size([2, 2, 6])
        >>> torch.allclose(kappa[..., 2], net.ntk(x, x.roll(2, -1)))
        True
    """
    one_of(shifts, AXES, "kind of shifts")
    one_of(kernel, KERNELS, "kernel")
    x = checked(architecture).check(x)
    require(x.ndim == 4, f"Shifts act on images (m, C, H, W), got x of shape {tuple(x.shape)}.")
    require(
        architecture.head is not None,
        f"{architecture} reads vectors, in which it sees no pixels: put Flatten() first.",
    )
    for place, layer in enumerate(architecture.layers):
        require(
            not isinstance(layer, Conv) or layer.is_circular,
            f"Layer {place} ({layer!r}) pads with zeros, so that its kernel changes under circular shifts. Use "
            'padding="circular".',
        )
    height, width = x.shape[2:]
    group = all_shifts(height if shifts != "horizontal" else 1, width if shifts != "vertical" else 1)
    tangent = kernel == "ntk"
    if isinstance(architecture.head, GlobalAveragePool):
        once = architecture.ntk(x) if tangent else architecture.nngp(x)
        return once[..., None].repeat(1, 1, len(group))
    out = x.new_empty(len(group), len(x), len(x))
    if architecture.pixel_layers:
        _convolved(architecture, pixel_scan(architecture.pixel_layers, x), group, out, tangent)
    else:
        _dense(architecture, x, group, out, tangent)
    return out.permute(1, 2, 0).contiguous()


def _half(shifts: Int[Tensor, "G 2"]) -> Iterator[tuple[int, int]]:
    """One of each pair of a shift and its inverse, as places in the list."""
    size = shifts.max(0).values + 1
    inverse = (-shifts) % size
    places = (inverse[:, 0] * size[1] + inverse[:, 1]).tolist()
    return ((place, back) for place, back in enumerate(places) if place <= back)


def _dense(architecture: Architecture, x: Tensor, group: Tensor, out: Tensor, tangent: bool) -> None:
    layers = architecture.vector_layers
    for place, back in _half(group):
        moved = x.roll(tuple(group[place].tolist()), (2, 3)).flatten(1)
        fill, q, _ = inner_products(x.flatten(1), moved if place else None)
        points = scan(layers, q, torch.zeros_like(q))
        nngp, theta = (None, out[place]) if tangent else (out[place], None)
        gram_(layers, fill, points, points, nngp, theta, symmetric=place == 0, first=True)
        if back != place:
            out[back] = out[place].mT


def _convolved(architecture: Architecture, images: PixelScan, group: Tensor, out: Tensor, tangent: bool) -> None:
    half = list(_half(group))
    places = torch.tensor([place for place, _ in half])
    theta = torch.empty_like(out) if tangent else None

    def store(i: slice, d: slice, j: slice, k: Tensor, t: Tensor | None) -> None:
        for offset, place in enumerate(places[d].tolist()):
            out[place, i, j] = k[:, offset]
            if theta is not None and t is not None:
                theta[place, i, j] = t[:, offset]

    pair_means(architecture.pixel_layers, images, images, group[places], store, tangent=tangent)
    points = architecture.head_scan(images)
    for place, back in half:
        tangents = None if theta is None else theta[place]
        gram_(architecture.vector_layers, keep, points, points, out[place], tangents, symmetric=place == 0)
        if tangents is not None:
            out[place] = tangents
        if back != place:
            out[back] = out[place].mT
