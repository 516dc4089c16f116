"""Small processes and tasks that the tests of processes share."""

from __future__ import annotations

import torch

from equilearn.data.fields import FieldTask, PointSet
from equilearn.processes import CNP, PTTNP, TEPTTNP, TETNP, TNP, ConvCNP, EquivCNP, RelaxedConvCNP
from equilearn.relaxation import FixedInputs

SMALL = {"width": 8, "depth": 2}
BOX = [(-2.0, 2.0), (-2.0, 2.0)]


def task(dims=2, seed=0, batch=3, context=6, targets=9, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    some = [
        PointSet(
            3 * torch.rand(batch, n, dims, generator=generator, dtype=dtype) - 1.5,
            torch.randn(batch, n, 1, generator=generator, dtype=dtype),
            torch.rand(batch, n, generator=generator) < 0.8,
        )
        for n in (context, targets)
    ]
    return FieldTask(*some)


def fixed(dims, width=8, drop=0.5):
    return FixedInputs(3, BOX[:dims], drop=drop, out=width)


def make(name, dims, bent=False):
    torch.manual_seed(0)
    more = {"fixed": fixed(dims)} if bent else {}
    made = {
        "ConvCNP": lambda: ConvCNP(dims, spacing=0.25, kernel_size=3, **SMALL, **more),
        "UNet": lambda: ConvCNP(dims, spacing=0.25, net="unet", kernel_size=3, width=8, depth=2, **more),
        "separable": lambda: ConvCNP(
            dims, spacing=0.25, kernel_size=3, separable=True, lengths=(0.7, 3.0), centred=True, **SMALL, **more
        ),
        "EquivCNP": lambda: EquivCNP(dims, spacing=0.25, kernel_size=3, fields=2, **SMALL, **more),
        "RelaxedConvCNP": lambda: RelaxedConvCNP(dims, spacing=0.25, kernel_size=3, domain=BOX[:dims], **SMALL),
        "RelaxedUNet": lambda: RelaxedConvCNP(
            dims, spacing=0.25, net="unet", kernel_size=3, width=8, depth=2, domain=BOX[:dims]
        ),
        "TETNP": lambda: TETNP(dims, heads=2, **SMALL, **more),
        "TETNP distance": lambda: TETNP(dims, heads=2, distance=True, **SMALL, **more),
        "TEPTTNP": lambda: TEPTTNP(dims, heads=2, pseudo=4, **SMALL, **more),
        "CNP": lambda: CNP(dims, width=8, depth=1),
        "TNP": lambda: TNP(dims, heads=2, **SMALL),
        "PTTNP": lambda: PTTNP(dims, heads=2, pseudo=4, **SMALL),
    }[name]().double()
    for parameter in made.parameters():  # biases and fixed inputs of some size
        parameter.data += 0.05 * torch.randn_like(parameter)
    return made.eval()


LATTICE = ("ConvCNP", "UNet", "separable", "EquivCNP", "RelaxedConvCNP", "RelaxedUNet")
ATTENTION = ("TETNP", "TETNP distance", "TEPTTNP")
FREE = ("CNP", "TNP", "PTTNP")
