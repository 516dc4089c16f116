"""The average gradient outer product of any model: networks and kernel machines share the measure."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import InputError, InputTypeError, finite, not_empty, positive_int, require
from equilearn.kernels._metric import symmetric_metric
from equilearn.kernels._rfm import RFM
from equilearn.kernels._tree import LocalMachines


def agop(
    model: nn.Module | Callable[[Tensor], Tensor],
    x: Float[Tensor, "N *shape"],
    *,
    centered: bool = False,
    chunk: int = 1024,
) -> Float[Tensor, "D D"]:
    """`1/N sum_j J(x_j)^T J(x_j)` for the Jacobian J of a model, D the number of entries of an input.

    The square root of this matrix is what a recursive feature machine takes as its metric, and what the first
    layer of a trained network is close to (W^T W, the neural feature matrix).

    Args:
        model: maps a batch of inputs to outputs `(N, ...)`, each from its own input alone; put modules in
            evaluation mode first. A fitted `RFM` has its closed form.
        x: floating-point inputs, batch first.
        centered: subtract the mean Jacobian (a mean a output) first.
        chunk: samples a backward pass.

    Raises:
        InputError: empty data, NaN in them or in the gradients, or outputs that do not depend on the inputs
            differentiably.

    Cost: as many backward passes as the model has outputs; O(N C D^2) for the products, memory O(chunk C D).
    Source: A. Radhakrishnan et al., Science 383 (2024), eq. 1.

    Example:
        >>> net = torch.nn.Linear(3, 2, bias=False).double()
        >>> found = agop(net, torch.randn(5, 3, dtype=torch.float64))
        >>> torch.allclose(found, net.weight.mT @ net.weight)
        True
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise InputTypeError("x must be a tensor of floating-point inputs, batch first.")
    not_empty(finite(x, "x"), "x")
    positive_int(chunk, "chunk")
    if isinstance(model, RFM | LocalMachines):
        return symmetric_metric(model.agop(x, centered=centered))
    width = x[0].numel()
    total = x.new_zeros(width, width)
    mean: Tensor | None = None
    for part in x.detach().split(chunk):
        jacobian = _jacobian(model, part)
        flat = jacobian.flatten(0, 1)
        total.addmm_(flat.mT, flat)
        mean = jacobian.sum(0) if mean is None else mean + jacobian.sum(0)
    total /= len(x)
    if centered and mean is not None:
        total -= mean.mT @ mean / len(x) ** 2
    return finite((total + total.mT) / 2, "the AGOP of the model")


def _jacobian(model: Callable[[Tensor], Tensor], x: Tensor) -> Float[Tensor, "N C D"]:
    """Gradients of every output at every input: samples are independent, so one backward pass an output serves all."""
    x = x.clone().requires_grad_()
    with torch.enable_grad():
        y = model(x)
        if not isinstance(y, Tensor):
            raise InputTypeError(f"The model must return a tensor, got {type(y).__name__}.")
        require(
            y.ndim >= 1 and len(y) == len(x),
            f"The model must return one row an input: {len(x)} inputs gave an output of shape {tuple(y.shape)}.",
        )
        if not y.requires_grad:
            raise InputError("The outputs of the model do not depend on its inputs in a way that has gradients.")
        y = y.reshape(len(x), -1)
        rows = []
        for c in range(y.shape[1]):
            (grad,) = torch.autograd.grad(y[:, c].sum(), x, retain_graph=c + 1 < y.shape[1], allow_unused=True)
            rows.append(torch.zeros_like(x) if grad is None else grad)
    return torch.stack(rows, dim=1).flatten(2).detach()
