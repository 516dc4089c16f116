"""A learned distribution over poses: a small equivariant network of the input and some noise."""

from __future__ import annotations

import copy
import math
from itertools import product
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import InputError, InputTypeError, positive_int, require
from equilearn.actions import Data, batch_size, first_leaf, map_data
from equilearn.groups import Element
from equilearn.symmetrization._base import Elements, Samples, Strategy, uniform_weight
from equilearn.symmetrization._centring import centroid_of, shifted_to_origin
from equilearn.symmetrization._found import Found, loss_of_identity, times
from equilearn.symmetrization._moving import repeat
from equilearn.symmetrization._net_check import check_net
from equilearn.symmetrization._noise import Noise, add_noise
from equilearn.symmetrization._padding import readable
from equilearn.symmetrization._penalty import Softness, distance_to_identity, entropy_of
from equilearn.symmetrization._readouts import (
    Readout,
    dependent,
    draw_index,
    normalised,
    place,
    random_descending,
    read_outputs,
    readouts_of,
    rotations,
    score_weights,
    tied,
)
from equilearn.symmetrization._sampler_nets import default_net
from equilearn.symmetrization._soft_sort import relax
from equilearn.symmetrization._views import mask_of
from equilearn.symmetry import Symmetry

SMALL_GROUP = 16
"""Largest order of a finite group whose elements are all evaluated by default."""


class Learned(Strategy):
    """The mean of `g f(g^-1 x)` over elements drawn from a learned distribution `p(g | x)`.

    A small equivariant network sees the input with noise added and gives the element: for Symmetric(n)
    one score an item, whose descending order is the permutation; for O(n) and SO(n) `n` vectors, made
    orthogonal; for E(n) and SE(n) the same about the centroid; for a small finite group one logit an element;
    for a product all of these. The law of the noise does not change under the group, so that
    `p(g | x) = p(hg | hx)` and the result is equivariant on average whatever the model and the weights.

    Permutations are exact on the way forward; on the way back their gradient is that of a soft
    permutation (straight-through), through every floating-point tensor that the permutation moves; edge
    lists pass none on, adjacency matrices do. Train together with the model, adding `forward_with_penalty`'s penalty
    to the loss, as `training.fit` does.

    The gradient of logits is unbiased for the output, not for a loss of it: of a squared error it is that of
    the error of the exact mean plus `2/k` times the variance of a sample (the loss itself holds `1/k` of it),
    so that few samples pull towards one pose. `samples="all"` has neither.

    Args:
        net: from data like the model's inputs to scores `(B, n)`, vectors `(B, d, d)` as columns, or
            logits `(B, |G|)`; for a product of groups a tuple of these in the order of its factors, None for
            translations. It must be equivariant. Default: for graphs a message-passing network with a virtual
            node, for sets `DeepSets`, for points a network of vectors and scalars, for finite groups the
            negative energies of all transformed copies.
        samples: elements per input in training; `"all"` (finite groups) evaluates every element with
            its probability as weight, which is exact. Default: `"all"` for a finite group of at most 16
            elements, 2 otherwise. One sample tells nothing about which element is better, so that logits
            could not learn from it: it is refused where there are some.
        eval_samples: the same in evaluation; default `"all"` where that is the default or the choice in
            training, else 16.
        noise: upper end of uniform noise on the features of nodes, or standard deviation of normal noise on
            vectors where rotations act. 0 makes it a learned canonicalization: one pose.
        temperature: of the soft permutations, relative to scores of unit length.
        rounds: of their normalisation.
        entropy_weight: of the entropy of the soft permutations in the penalty; it makes them near hard, so that
            straight-through gradients are accurate.
        prior_weight: of the distance of the elements to the identity in the penalty, for models trained
            before on data in one pose.
        antithetic: whether samples come in pairs with opposite noise, where their number is even and at least
            four: of a single pair no standard error could be told.
        width: hidden features of the default network.
        limit: largest finite group with one logit an element.
        check: whether `symmetrize(..., example=x)` measures the equivariance of the network.

    Source: Kim et al. 2023; prior: Mondal et al. 2023.

    Cost: `k` evaluations of the model and of the network per input, each in one batched call; for permutations in
    training O(k (n^2 + rounds n)) time, O(k rounds n) memory for the gradient, and `n x n` matrices in passing.

    Example:
        >>> import torch, equilearn as eq
        >>> clouds = eq.Symmetry(eq.SO(3) * eq.Symmetric(5), eq.actions.points(), eq.actions.points())
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(15, 15), torch.nn.Unflatten(1, (5, 3)))
        >>> model = eq.symmetrize(net, clouds, eq.symmetrization.Learned(samples=2, eval_samples=20)).eval()
        >>> x = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
        >>> y, spread = model(x, generator=torch.Generator().manual_seed(1), return_std=True)
        >>> y.shape, spread.shape, model.forward_passes(), model.is_exact()
        (torch.Size([4, 5, 3]), torch.Size([4, 5, 3]), 20, False)
    """

    name = "learned"

    def __init__(
        self,
        net: nn.Module | None = None,
        *,
        samples: Samples = None,
        eval_samples: Samples = None,
        noise: float = 1.0,
        temperature: float = 0.1,
        rounds: int = 20,
        entropy_weight: float = 0.1,
        prior_weight: float = 0.0,
        antithetic: bool = True,
        width: int | None = None,
        limit: int = 64,
        check: bool = True,
    ):
        super().__init__()
        if net is not None and not callable(net):
            raise InputTypeError(f"net must be a module from data to scores, vectors or logits, got {net!r}.")
        for value, what in ((samples, "samples"), (eval_samples, "eval_samples")):
            if value is not None and value != "all":
                positive_int(value, what)
        for value, what in ((noise, "noise"), (entropy_weight, "entropy_weight"), (prior_weight, "prior_weight")):
            require(_is_number(value) and value >= 0, f"{what} must be a number >= 0, got {value!r}.")
        require(
            _is_number(temperature) and temperature > 0, f"temperature must be a positive number, got {temperature!r}."
        )
        self.net = net
        self.train_samples = samples
        self.eval_samples = 16 if eval_samples is None and samples not in (None, "all") else eval_samples or samples
        self.noise, self.temperature = float(noise), float(temperature)
        self.rounds = positive_int(rounds, "rounds")
        self.entropy_weight, self.prior_weight = float(entropy_weight), float(prior_weight)
        self.antithetic = bool(antithetic)
        self.width = None if width is None else positive_int(width, "width")
        self.limit = positive_int(limit, "limit")
        self.check_net_first = bool(check)

    # --- what symmetrize asks ---------------------------------------------------------------

    def check(self, symmetry: Symmetry) -> None:
        plan = readouts_of(symmetry, self.limit)
        for samples in (self.train_samples, self.eval_samples):
            if samples == "all":
                _require_listed(symmetry, plan)
        _require_baseline(plan, self.train_samples)

    def prepare(self, symmetry: Symmetry, example: Data | None = None) -> Strategy:
        """A copy with a default network where there is none; the network's equivariance checked on the example."""
        made = self
        plan = readouts_of(symmetry, self.limit)
        if self.net is None and any(part.kind != "centroid" for part in plan):
            made = copy.deepcopy(self)
            made.net = default_net(symmetry, plan, example, self.width)
        if example is not None and made.net is not None and self.check_net_first:
            made.check_net(symmetry, example)
        return made

    def check_net(self, symmetry: Symmetry, x: Data, *, seed: int = 0) -> float:
        """Measure how far the sampler network is from equivariant on a few inputs, noise moved along.

        Args:
            symmetry: the group and its actions.
            x: inputs, of which the first four serve.
            seed: of the noise and the group elements.

        Returns:
            The largest deviation over factors, relative to the spread of that output.

        Raises:
            InputError: the network is not equivariant; says under which factor, and by how much.
        """
        plan = readouts_of(symmetry, self.limit)
        x = map_data(lambda t: t[:4], x)
        generator = torch.Generator(first_leaf(x).device).manual_seed(seed)
        with torch.no_grad():
            seen = self._seen(symmetry, plan, x, 1, generator)
        return check_net(self._net(), symmetry, plan, seen, generator)

    def is_exact(self, symmetry: Symmetry, x: Data | None = None) -> bool:
        plan = readouts_of(symmetry, self.limit)
        kinds = {part.kind for part in plan}
        if self._count(plan, None) == "all" or kinds == {"centroid"}:
            return True
        if "logits" in kinds or self.noise > 0 or x is None:
            return self.noise == 0 and "logits" not in kinds
        with torch.no_grad():
            return self.sample(symmetry, x, None, torch.Generator(first_leaf(x).device).manual_seed(0)).exact

    def forward_passes(self, symmetry: Symmetry) -> int:
        count = self._count(readouts_of(symmetry, self.limit), None)
        return int(symmetry.group.order or 1) if count == "all" else count

    def extra_repr(self) -> str:
        return (
            f"samples={self.train_samples!r}, eval_samples={self.eval_samples!r}, noise={self.noise:g}, "
            f"temperature={self.temperature:g}, entropy_weight={self.entropy_weight:g}"
        )

    # --- sampling ---------------------------------------------------------------------------

    def sample(
        self, symmetry: Symmetry, x: Data, k: Samples = None, generator: torch.Generator | None = None
    ) -> Elements:
        plan = readouts_of(symmetry, self.limit)
        count = self._count(plan, k)
        # Before the network sees them: one NaN in training would stay in its running means for good.
        x = readable(symmetry.input, x)
        if count == "all":
            return self._all(symmetry, plan, x)
        if self.training and torch.is_grad_enabled():
            _require_baseline(plan, count)
        size = batch_size(x)
        block = 2 if self.antithetic and count % 2 == 0 and count >= 4 else 1
        draws = count if self._is_noisy(plan) else 1
        outputs: list[Tensor | None] = [None] * len(plan)
        if any(part.kind != "centroid" for part in plan):
            seen = self._seen(symmetry, plan, x, draws, generator, paired=block == 2)
            outputs = read_outputs(plan, symmetry.group, self._net()(seen), size * draws, self._net_name())
        found = Found(symmetry, x, size, count, block, generator)
        parts = [
            self._element(found, part, times(out, count // draws)) for part, out in zip(plan, outputs, strict=True)
        ]
        weight = uniform_weight(x, count)
        if found.chosen is not None:
            weight = score_weights(found.chosen, block).to(weight.dtype)
        fixed = found.chosen is None and not self._is_noisy(plan)
        random = ~found.unique if fixed else torch.ones_like(found.unique)
        exact = fixed and not bool(random.any())
        g = symmetry.group.reshape(place(symmetry.group, parts), (size, count))
        return Elements(g, weight, exact=exact, aux=found.aux, soft=found.soft or None, block=block, random=random)

    def _element(self, found: Found, part: Readout, out: Tensor | None) -> Element:
        """The elements of one factor, batch shape `(B k)`."""
        if part.kind == "scores" and out is not None:
            return self._permutation(found, part, out)
        if part.kind == "logits" and out is not None:
            return self._drawn(found, part, out)
        turn = None
        if out is not None:
            turn = rotations(part, out, found.generator)
            if not self.noise:
                found.note(dependent(part, out))
        if not part.shifts:
            return turn  # type: ignore[return-value]
        centre = centroid_of(found.symmetry.input, part.index, found.x).repeat_interleave(found.count, 0)
        return part.group.from_parts(turn, centre)  # type: ignore[attr-defined]

    def _permutation(self, found: Found, part: Readout, out: Float[Tensor, "M n"]) -> Tensor:
        mask = mask_of(found.symmetry.input, part.index, found.x)
        mask = None if mask is None else repeat(mask, found.count)
        scores = normalised(out, mask)
        p = random_descending(scores, mask, found.generator)
        if torch.is_grad_enabled() and scores.requires_grad:
            soft, entropy = relax(scores, p, mask, temperature=self.temperature, rounds=self.rounds)
            found.soft[part.index] = soft.unflatten(0, (found.size, found.count))
            found.add("entropy", entropy)
        if not self.noise:
            found.note(tied(scores, mask))
        found.aux.setdefault("scores", {})[part.index] = scores.detach().unflatten(0, (found.size, found.count))
        return p

    def _drawn(self, found: Found, part: Readout, out: Float[Tensor, "M K"]) -> Element:
        logp = torch.log_softmax(out.to(torch.float64), -1).unflatten(0, (found.size, found.count))
        index = draw_index(logp, found.block == 2, found.generator)
        chosen = logp.gather(-1, index.unsqueeze(-1)).squeeze(-1)
        found.chosen = chosen if found.chosen is None else found.chosen + chosen
        found.aux.setdefault("identity", {})[part.index] = loss_of_identity(part, logp.mean(1))
        listed = part.group.to(part.group.elements(), device=index.device)
        return part.group.take(listed, index.flatten())

    def _all(self, symmetry: Symmetry, plan: tuple[Readout, ...], x: Data) -> Elements:
        """Every element with its probability as weight."""
        _require_listed(symmetry, plan)
        size = batch_size(x)
        seen = self._seen(symmetry, plan, x, 1, None)
        outputs = read_outputs(plan, symmetry.group, self._net()(seen), size, self._net_name())
        logps = [torch.log_softmax(out.to(torch.float64), -1) for out in outputs if out is not None]
        joint = logps[0]
        for logp in logps[1:]:
            joint = (joint.unsqueeze(-1) + logp.unsqueeze(1)).flatten(1)
        picks = torch.tensor(list(product(*(range(part.size) for part in plan))), device=joint.device)
        parts = [
            part.group.take(part.group.to(part.group.elements(), device=joint.device), picks[:, i])
            for i, part in enumerate(plan)
        ]
        g = symmetry.group.expand(place(symmetry.group, parts), (size, joint.shape[1]))
        weight = joint.exp().to(uniform_weight(x, 1).dtype)
        identity = {part.index: loss_of_identity(part, logp) for part, logp in zip(plan, logps, strict=True)}
        return Elements(g, weight, exact=True, aux={"log_probability": joint, "identity": identity}, shared=True)

    # --- penalties --------------------------------------------------------------------------

    def penalty(self, symmetry: Symmetry, x: Data, elements: Elements) -> Float[Tensor, ""]:
        """`entropy_weight` times the mean entropy, plus `prior_weight` times the mean distance to the identity."""
        total = elements.weight.new_zeros(())
        plan = readouts_of(symmetry, self.limit)
        if self.entropy_weight:
            entropy = entropy_of(self._softness, symmetry, x, elements)
            if entropy is not None:
                total = total + self.entropy_weight * entropy.mean().to(total.dtype)
        if self.prior_weight:
            distance = distance_to_identity(self._softness, plan, symmetry, x, elements)
            total = total + self.prior_weight * distance.mean().to(total.dtype)
        return total

    # --- helpers ----------------------------------------------------------------------------

    @property
    def _softness(self) -> Softness:
        return Softness(self.temperature, self.rounds)

    def _count(self, plan: tuple[Readout, ...], k: Samples) -> int | Literal["all"]:
        kinds = {part.kind for part in plan}
        wanted = self._samples(k)
        if wanted is None:
            small = kinds == {"logits"} and math.prod(part.size for part in plan) <= SMALL_GROUP
            wanted = "all" if small else 2 if self.training else 16
        if k is None and wanted != "all" and "logits" not in kinds and not self._is_noisy(plan):
            return 1  # all samples would be the same
        return wanted

    def _is_noisy(self, plan: tuple[Readout, ...]) -> bool:
        """Whether the network sees noise: logits alone are drawn from, and need none."""
        return self.noise > 0 and any(part.kind in ("scores", "vectors") for part in plan)

    def _seen(
        self,
        symmetry: Symmetry,
        plan: tuple[Readout, ...],
        x: Data,
        count: int,
        generator: torch.Generator | None,
        *,
        paired: bool = False,
    ) -> Data:
        """What the network sees: every input `count` times, about its centroid, with noise."""
        x = repeat(shifted_to_origin(symmetry, plan, x), count)
        if not self._is_noisy(plan):
            return x
        permuting = tuple(part.index for part in plan if part.kind == "scores")
        isotropic = any(part.kind != "scores" for part in plan)
        law = Noise(self.noise, permuting, isotropic, count, paired)
        return add_noise(law, symmetry.input, x, generator)

    def _net(self) -> nn.Module:
        if self.net is None:
            raise InputError(
                "This Learned strategy has no network yet. Make the model with symmetrize(model, symmetry, strategy, "
                "example=x), which builds one for the data, or give Learned(net=...)."
            )
        return self.net

    def _net_name(self) -> str:
        return type(self.net).__name__


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require_baseline(plan: tuple[Readout, ...], samples: Samples) -> None:
    drawn = " and ".join(str(part.group) for part in plan if part.kind == "logits")
    require(
        samples != 1 or not drawn,
        f"A learned distribution over the elements of {drawn} cannot learn from one sample an input: there is no "
        "other to compare it with. Train with samples=2 or more, or samples='all'; in evaluation one may do "
        "(eval_samples=1).",
    )


def _require_listed(symmetry: Symmetry, plan: tuple[Readout, ...]) -> None:
    sampled = [str(part.group) for part in plan if part.kind != "logits"]
    require(
        not sampled,
        f"samples='all' of a learned distribution is for small finite groups with one logit an element; "
        f"{' and '.join(sampled)} acting on {symmetry.input.name} has a pose drawn. Give a number of samples.",
    )
