"""The action on feature maps: positions move, and so do the channels."""

from __future__ import annotations

from equilearn._check import InputError, InputTypeError, require
from equilearn.actions import Action, Data, images
from equilearn.groups import Element
from equilearn.reps import Rep


class FeatureMapAction(Action):
    """`(g F)(p) = rho(g) F(g^-1 p)` on `(B, C, H, W)`; see `feature_maps`."""

    def __init__(self, rep: Rep, interpolation: str = "bilinear"):
        if not isinstance(rep, Rep):
            raise InputTypeError(f"feature_maps needs a representation, got {type(rep).__name__}.")
        self.rep = rep
        self.group = rep.group
        self.positions = images(interpolation).on(rep.group)

    @property
    def name(self) -> str:
        return f"feature maps of {self.rep.name}"

    def check(self, x: Data) -> None:
        self.positions.check(x)
        require(
            x.shape[1] == self.rep.dim,
            f"{self.rep.name} has {self.rep.dim} channels, the data {tuple(x.shape)} have {x.shape[1]}.",
        )

    def is_exact(self, x: Data) -> bool:
        return self.positions.is_exact(x)

    def __call__(self, g: Element, x: Data) -> Data:
        self.check(x)
        batch = self.group.batch_shape(g)
        if batch not in ((), (x.shape[0],)):
            raise InputError(f"Elements of batch {batch} cannot move {x.shape[0]} samples: give one, or one each.")
        moved = self.positions(g, x)
        g = self.group.reshape(g, (*batch, 1, 1)) if batch else g
        return self.rep.apply(g, moved.movedim(1, -1)).movedim(-1, 1)


def feature_maps(rep: Rep, interpolation: str = "bilinear") -> Action:
    """The action on images whose channels transform by `rep`, such as the outputs of `GroupConv2d`.

    Arguments:
        rep: the representation of the channels, `fields * reps.regular(group)` for regular fields.
        interpolation: as in `actions.images`.

    Raises `InputError` where the channels do not fit, and for groups that do not act on images.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> G = eq.Cyclic(4)
        >>> conv = eq.nn.GroupConv2d(G, in_fields=2, out_fields=3, kernel_size=3)
        >>> move_in = eq.nn.feature_maps(2 * eq.reps.regular(G))
        >>> move_out = eq.nn.feature_maps(3 * eq.reps.regular(G))
        >>> x, g = torch.randn(1, 8, 6, 6), torch.tensor(1)
        >>> torch.allclose(conv(move_in(g, x)), move_out(g, conv(x)), atol=1e-5)
        True
    """
    return FeatureMapAction(rep, interpolation)
