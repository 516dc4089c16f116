"""Slow, obvious twins of the kernels and their gradients, and small data to try them on."""

from __future__ import annotations

import math

import torch

from equilearn.kernels import Gaussian, Generalized, Laplace, Quadratic

KERNELS = [
    Gaussian(1.7),
    Laplace(2.5),
    Quadratic(),
    Generalized(2.0, 1.3, 1.9),
    Generalized(1.5, 1.0, 2.0),
    Generalized(1.0, 1.0, 3.0),
]
RADIAL = [k for k in KERNELS if isinstance(k, Gaussian | Laplace) or (isinstance(k, Generalized) and k.p == 2)]


def one_entry(kernel, u, v, metric):
    """`k_M(u, v)` of two vectors, from its definition, with coordinates summed in a loop."""
    d = len(u)
    if isinstance(kernel, Quadratic):
        return sum(u[i] * metric[i][j] * v[j] for i in range(d) for j in range(d)) ** 2
    w = [u[i] - v[i] for i in range(d)]
    if isinstance(kernel, Generalized) and kernel.p < 2:
        values, vectors = torch.linalg.eigh(torch.tensor(metric, dtype=torch.float64))
        root = (vectors * values.clamp_min(0).sqrt()) @ vectors.mT
        moved = (root @ torch.tensor(w, dtype=torch.float64)).tolist()
        size = sum(abs(m) ** kernel.p for m in moved) ** (1 / kernel.p)
        return math.exp(-((size / kernel.length) ** kernel.q))
    square = max(sum(w[i] * metric[i][j] * w[j] for i in range(d) for j in range(d)), 0.0)
    if isinstance(kernel, Gaussian):
        return math.exp(-square / (2 * kernel.length**2))
    q = 1.0 if isinstance(kernel, Laplace) else kernel.q
    return math.exp(-((math.sqrt(square) / kernel.length) ** q))


def slow_gram(kernel, x, z, metric):
    """All pairs of rows, one at a time, in float64."""
    full = (torch.diag(metric) if metric.ndim == 1 else metric).double().tolist()
    rows = [[one_entry(kernel, u, v, full) for v in z.double().tolist()] for u in x.double().tolist()]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(x), len(z))


def smooth_outputs(kernel, x, z, dual, metric):
    """`f(x)` for one point, differentiable, with gradient 0 at pairs that coincide."""
    full = torch.diag(metric) if metric.ndim == 1 else metric
    if isinstance(kernel, Quadratic):
        return (z @ full @ x).square() @ dual
    same = (z == x).all(1)
    w = x - z
    if isinstance(kernel, Generalized) and kernel.p < 2:
        values, vectors = torch.linalg.eigh(full)
        moved = w @ ((vectors * values.clamp_min(0).sqrt()) @ vectors.mT)
        moved = torch.where(same[:, None], torch.ones_like(moved), moved)
        power = moved.abs().pow(kernel.p).sum(1) ** (kernel.q / kernel.p) / kernel.length**kernel.q
    else:
        square = torch.where(same, torch.ones_like(w[:, 0]), ((w @ full) * w).sum(1))
        q = {Gaussian: 2.0, Laplace: 1.0}.get(type(kernel)) or kernel.q
        half = 0.5 if isinstance(kernel, Gaussian) else 1.0
        power = half * (square / kernel.length**2) ** (q / 2)
    return torch.where(same, torch.ones_like(power), torch.exp(-power)) @ dual


def slow_agop(kernel, x, z, dual, metric, centered):
    """The average outer product of Jacobians that autograd finds, a point at a time, in float64."""
    x, z, dual, metric = (t.double() for t in (x, z, dual, metric))
    jacobians = [
        torch.autograd.functional.jacobian(lambda v: smooth_outputs(kernel, v, z, dual, metric), point) for point in x
    ]
    jacobian = torch.stack(jacobians)
    jacobian = jacobian - jacobian.mean(0) if centered else jacobian
    return torch.einsum("ncd,nce->de", jacobian, jacobian) / len(x)


def random_metric(width, generator, dtype=torch.float64, diagonal=False):
    """A positive definite matrix, or a positive diagonal."""
    if diagonal:
        return torch.rand(width, generator=generator, dtype=torch.float64).add_(0.2).to(dtype)
    a = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return (a @ a.mT / width + 0.1 * torch.eye(width, dtype=torch.float64)).to(dtype)


def randn(*shape, generator, dtype=torch.float64):
    """The same numbers in every precision."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def relative(found, wanted):
    """`|found - wanted| / |wanted|`."""
    return float((found - wanted).norm() / wanted.norm().clamp_min(1e-300))
