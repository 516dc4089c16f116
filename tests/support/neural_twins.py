"""Neural kernels by loops over pairs of samples and of pixels: the slow twins."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from equilearn.kernels.neural import Architecture, Conv, Dense, Erf, Flatten, GlobalAveragePool, ReLU


def relu_pair(k: float, q1: float, q2: float) -> tuple[float, float]:
    """`E phi phi` and `E phi' phi'` from the formulas as they are printed."""
    if q1 == 0 or q2 == 0:
        return 0.0, 0.25
    angle = math.acos(min(1.0, max(-1.0, k / math.sqrt(q1 * q2))))
    value = math.sqrt(q1 * q2) / (2 * math.pi) * (math.sin(angle) + (math.pi - angle) * math.cos(angle))
    return value, (math.pi - angle) / (2 * math.pi)


def erf_pair(k: float, q1: float, q2: float) -> tuple[float, float]:
    s = (1 + 2 * q1) * (1 + 2 * q2)
    return 2 / math.pi * math.asin(2 * k / math.sqrt(s)), 4 / math.pi / math.sqrt(s - 4 * k * k)


def slow_convolution(k: np.ndarray, layer: Conv, bias: bool = True) -> np.ndarray:
    """`k[h, w, h', w']`: the mean over all joint offsets, one at a time."""
    height, width = k.shape[:2]
    half = layer.size // 2
    out = np.zeros_like(k)
    for p in np.ndindex(height, width):
        for q in np.ndindex(height, width):
            total = 0.0
            for a in range(-half, half + 1):
                for b in range(-half, half + 1):
                    (i, j), (u, v) = (p[0] + a, p[1] + b), (q[0] + a, q[1] + b)
                    if layer.padding == "circular":
                        total += k[i % height, j % width, u % height, v % width]
                    elif 0 <= i < height and 0 <= j < width and 0 <= u < height and 0 <= v < width:
                        total += k[i, j, u, v]
            out[*p, *q] = layer.W_std**2 * total / layer.size**2 + (layer.b_std**2 if bias else 0.0)
    return out


def slow_pair(architecture: Architecture, x: Tensor, z: Tensor) -> tuple[float, float]:
    """NNGP and NTK of two samples, vectors `(D,)` or images `(C, H, W)`."""
    pairs = {}
    for name, (a, b) in {"xx": (x, x), "xz": (x, z), "zz": (z, z)}.items():
        a, b = (t.double().reshape(len(t), *(t.shape[1:] or (1, 1))).numpy() for t in (a, b))
        pairs[name] = np.einsum("cij,ckl->ijkl", a, b) / len(a)
    theta = np.zeros_like(pairs["xz"])
    for layer in architecture.layers:
        if isinstance(layer, Conv):
            pairs = {name: slow_convolution(k, layer) for name, k in pairs.items()}
            theta = pairs["xz"] + slow_convolution(theta, layer, bias=False)
        elif isinstance(layer, Dense):
            pairs = {name: layer.W_std**2 * k + layer.b_std**2 for name, k in pairs.items()}
            theta = pairs["xz"] + layer.W_std**2 * theta
        elif isinstance(layer, Flatten | GlobalAveragePool):
            index = "ijij->ij" if isinstance(layer, Flatten) else "ijkl->ijkl"
            reduced = [np.einsum(index, k).mean().reshape(1, 1, 1, 1) for k in (*pairs.values(), theta)]
            pairs, theta = dict(zip(pairs, reduced[:3], strict=True)), reduced[3]
        else:
            pairs, theta = _activation(layer, pairs, theta)
    return float(pairs["xz"].item()), float(theta.item())


def _activation(layer: ReLU | Erf, pairs: dict[str, np.ndarray], theta: np.ndarray) -> tuple[dict, np.ndarray]:
    dual = relu_pair if isinstance(layer, ReLU) else erf_pair
    variances = [np.einsum("ijij->ij", pairs[name]) for name in ("xx", "zz")]
    found, slopes = {}, np.zeros_like(theta)
    for name, (q1, q2) in {"xx": (0, 0), "xz": (0, 1), "zz": (1, 1)}.items():
        k = pairs[name]
        found[name] = np.zeros_like(k)
        for index in np.ndindex(k.shape):
            value, slope = dual(k[index], variances[q1][index[:2]], variances[q2][index[2:]])
            found[name][index] = value
            if name == "xz":
                slopes[index] = slope
    return found, theta * slopes


def slow_kernels(architecture: Architecture, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """NNGP and NTK Gram matrices, pair by pair."""
    values = torch.tensor([[slow_pair(architecture, a, b) for b in z] for a in x], dtype=torch.float64)
    values = values.reshape(len(x), len(z), 2)
    return values[..., 0], values[..., 1]


def z_scores(samples: Tensor, wanted: Tensor) -> Tensor:
    """How many standard errors the mean over the first axis is off."""
    return (samples.mean(0) - wanted) / (samples.std(0) / math.sqrt(len(samples)))
