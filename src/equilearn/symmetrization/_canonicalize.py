"""Canonicalization: every input is brought to one pose, then the model sees that pose only."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equilearn._check import InputError, InputTypeError, one_of, positive_int, require
from equilearn.actions import Data, batch_size, first_leaf
from equilearn.groups import SO, O
from equilearn.symmetrization._base import Elements, Samples, Strategy, generator_device, uniform_weight
from equilearn.symmetrization._compose import equivariant_frame, plan_frame
from equilearn.symmetrization._energies import Energy, analytic_energy
from equilearn.symmetrization._frames import pose_count, take_each
from equilearn.symmetrization._moving import copies
from equilearn.symmetrization._padding import without_padding
from equilearn.symmetrization._plane import rotation_matrices
from equilearn.symmetrization._poses import Ties
from equilearn.symmetrization._views import image_view
from equilearn.symmetry import Symmetry

LEARNED_CANDIDATES = 8
"""Poses of an image under SO(2) or O(2) among which a learned energy chooses by default."""


class Canonicalize(Strategy):
    """`g f(g^-1 x)` at the one pose `g(x)` of lowest energy: one evaluation of the model per input.

    The candidates are the poses of `Frames` (all copies under a finite group; principal axes with all
    signs; the axis of an image and its half turn; orders of a graph; ...), a set that moves with the input. An energy
    looks at every candidate copy `g^-1 x` and the lowest wins, which is exactly equivariant as long
    as the lowest is unique. Copies that tie (symmetric inputs) are averaged, which is exact as well.

    The default energies are analytic: second and first moments of an image, third moments of a cloud.
    A network learns its own, together with the model: in training the `mix` best copies are all
    evaluated and weighted by a softmax of the energies on the way back (straight-through: on the way
    forward only the best counts), so that the energy learns which pose the model reads best.

    Canonical poses jump where two energies cross; no continuous choice exists for most groups. An
    average over frames is smoother at more cost.

    Args:
        energy: None (analytic), or a module or function from copies `(M, ...)` to energies `(M,)`;
            `small_energy(x)` builds a default network.
        candidates: number of poses of an image under SO(2) (O(2): of each orientation) among which
            to choose, an even number: evenly spaced from the image's own axis. Default 2 with the analytic
            energy, 8 with another. Only for these.
        temperature: of the softmax in training.
        mix: copies evaluated per input in training with a network energy.
        ties: `"average"`, or `"random"` (one evaluation always, equivariant on average).
        limit: largest finite group whose elements are all scored.

    Source: Kaba et al. 2023, sections 3 and 4 (direct and optimisation-based canonicalization); ties
    averaged as in Kim et al. 2023. Cost: one evaluation of the model (`mix` in training with a network
    energy), and one of the energy on `B k` copies.

    Example:
        >>> import torch, equilearn as eq
        >>> turns = eq.Symmetry(eq.Dihedral(4), input=eq.actions.images())
        >>> model = eq.symmetrize(torch.nn.Flatten(), turns, "canonicalize")
        >>> x = torch.rand(3, 1, 5, 5, generator=torch.Generator().manual_seed(0))
        >>> torch.equal(model(x), model(x.flip(3)))
        True
        >>> model.forward_passes()
        1
    """

    name = "canonicalize"

    def __init__(
        self,
        energy: nn.Module | Energy | None = None,
        *,
        candidates: int | None = None,
        temperature: float = 1.0,
        mix: int = 4,
        ties: Ties = "average",
        limit: int = 64,
    ):
        super().__init__()
        if energy is not None and not callable(energy):
            raise InputTypeError(
                f"energy must be a module or function from copies to energies, got {energy!r}. "
                "small_energy(x) builds one for data shaped like x."
            )
        if candidates is not None:
            positive_int(candidates, "candidates", 2)
            require(candidates % 2 == 0, f"candidates must be even, since an axis has two ends; got {candidates}.")
        require(math.isfinite(temperature) and temperature > 0, f"temperature must be positive, got {temperature!r}.")
        self.energy = energy
        self.candidates = candidates
        self.temperature = float(temperature)
        self.mix = positive_int(mix, "mix")
        self.ties: Ties = one_of(ties, ("average", "random"), "way to treat ties")  # type: ignore[assignment]
        self.limit = positive_int(limit, "limit")
        self.train_samples = self.eval_samples = 1

    def check(self, symmetry: Symmetry) -> None:
        plan_frame(symmetry, self.limit)
        if self.candidates is not None and not _turns_images(symmetry):
            raise InputError(
                f"candidates= is for SO(2) or O(2) on images, not {symmetry.group} on {symmetry.input.name}: "
                "there the candidates are fixed by the group."
            )

    @property
    def learns(self) -> bool:
        """Whether the energy has parameters to train."""
        return isinstance(self.energy, nn.Module) and any(p.requires_grad for p in self.energy.parameters())

    def sample(
        self, symmetry: Symmetry, x: Data, k: Samples = None, generator: torch.Generator | None = None
    ) -> Elements:
        """The pose of lowest energy; more than one only where poses tie, and in training with a network,
        whatever `k` asks for."""
        self._samples(k)  # refuses what is no number
        found = self._poses(symmetry, x, generator)
        if found.count == 1:
            return found
        # Poses of weight zero fill up the batch and are no candidates.
        energy = self._energy(symmetry, x, found)
        energy = torch.where(found.weight > 0, energy, math.inf)
        if self.learns and self.training and torch.is_grad_enabled():
            return self._mixed(symmetry, found, energy)
        return self._lowest(symmetry, found, energy, _tolerance(symmetry, x), generator)

    def is_exact(self, symmetry: Symmetry, x: Data | None = None) -> bool:
        if x is None:
            return True
        generator = torch.Generator(first_leaf(x).device).manual_seed(0)
        with torch.no_grad():
            return self.sample(symmetry, x, None, generator).exact

    def forward_passes(self, symmetry: Symmetry) -> int:
        if not (self.learns and self.training):
            return 1
        return min(self.mix, pose_count(symmetry) * self._extra_turns(symmetry))

    # --- candidates and their energies ----------------------------------------------------

    def _extra_turns(self, symmetry: Symmetry) -> int:
        """How many turns of each pose of the frame are candidates as well."""
        if not _turns_images(symmetry):
            return 1
        return (self.candidates or (2 if self.energy is None else LEARNED_CANDIDATES)) // 2

    def _poses(self, symmetry: Symmetry, x: Data, generator: torch.Generator | None) -> Elements:
        found = equivariant_frame(plan_frame(symmetry, self.limit), symmetry, x, generator, self.ties)
        extra = self._extra_turns(symmetry)
        if extra == 1:
            return found
        # F(x) C is as equivariant as F(x): factors on the right do not meet the moving input.
        angles = torch.arange(extra, dtype=torch.float64, device=found.weight.device) * (math.pi / extra)
        g = (found.g.unsqueeze(2) @ rotation_matrices(angles)).flatten(1, 2)
        return Elements(g, uniform_weight(x, found.count * extra), exact=found.exact, aux=found.aux)

    def _energy(self, symmetry: Symmetry, x: Data, found: Elements) -> Float[Tensor, "B k"]:
        score = analytic_energy(symmetry) if self.energy is None else self.energy
        back = symmetry.group.inverse(found.g)
        energy = score(without_padding(symmetry.input, copies(symmetry.input, back, x, shared=found.shared)))
        total = batch_size(x) * found.count
        require(
            isinstance(energy, Tensor) and energy.shape in ((total,), (total, 1)),
            f"energy must map {total} copies to a tensor of shape ({total},), got {getattr(energy, 'shape', energy)}.",
        )
        return energy.reshape(batch_size(x), found.count)

    # --- the choice -------------------------------------------------------------------------

    def _lowest(
        self,
        symmetry: Symmetry,
        found: Elements,
        energy: Float[Tensor, "B k"],
        tolerance: float,
        generator: torch.Generator | None,
    ) -> Elements:
        energy = energy.detach()
        tied = energy <= energy.amin(1, keepdim=True) + tolerance
        margins = {**found.aux.get("margins", {}), "energy gap": _gap(energy, tied)}
        exact = found.exact
        if self.ties == "random":
            exact = exact and bool((tied.sum(1) == 1).all())
            tied = _one_of_each(tied, generator)
        count = int(tied.sum(1).max()) if len(tied) else 1
        index = torch.argsort(~tied, dim=1, stable=True)[:, :count]
        chosen = tied.gather(1, index).to(found.weight.dtype)
        g = take_each(symmetry.group, found.g, index)
        aux = {**found.aux, "energy": energy, "ambiguous": tied.sum(1) > 1, "margins": margins}
        return Elements(g, chosen / chosen.sum(1, keepdim=True), exact=exact, aux=aux)

    def _mixed(self, symmetry: Symmetry, found: Elements, energy: Float[Tensor, "B k"]) -> Elements:
        """The `mix` lowest; weight one on the lowest, with the gradient of a softmax (straight-through)."""
        count = min(self.mix, found.count)
        lowest, index = torch.topk(energy, count, dim=1, largest=False, sorted=True)
        soft = torch.softmax(-lowest / self.temperature, dim=1)
        hard = torch.zeros_like(soft)
        hard[:, 0] = 1
        aux = {**found.aux, "energy": energy}
        return Elements(take_each(symmetry.group, found.g, index), hard + soft - soft.detach(), found.exact, aux)

    def extra_repr(self) -> str:
        return f"ties={self.ties!r}" + ("" if self.energy is not None else ", energy=analytic")


def _turns_images(symmetry: Symmetry) -> bool:
    return symmetry.group in (SO(2), O(2)) and image_view(symmetry.input) is not None


def _tolerance(symmetry: Symmetry, x: Data) -> float:
    """Energies closer than this count as equal: as precise as copies of `x` are."""
    leaf = first_leaf(x)
    copied = not leaf.is_floating_point() or (image_view(symmetry.input) is not None and symmetry.input.is_exact(x))
    return 1e-9 if copied or leaf.dtype == torch.float64 else 1e-5


def _gap(energy: Float[Tensor, "B k"], tied: Bool[Tensor, "B k"]) -> Float[Tensor, "B"]:
    """How far the lowest energy is below the next that does not tie with it; infinite where there is none."""
    others = torch.where(tied, math.inf, energy.to(torch.float64))
    return others.amin(1) - energy.to(torch.float64).amin(1) if energy.shape[1] else others.sum(1)


def _one_of_each(tied: Bool[Tensor, "B k"], generator: torch.Generator | None) -> Bool[Tensor, "B k"]:
    where = generator_device(generator, tied.device)
    keys = torch.rand(tied.shape, generator=generator, device=where).to(tied.device)
    best = torch.where(tied, keys, torch.full_like(keys, -1.0)).argmax(1, keepdim=True) if tied.numel() else None
    return tied if best is None else torch.zeros_like(tied).scatter(1, best, True)
