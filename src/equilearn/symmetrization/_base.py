"""What every strategy offers: group elements and weights for each input, drawn without hidden state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equilearn._check import InputError, InputTypeError, one_of, positive_int
from equilearn.actions import Data, batch_size, first_leaf
from equilearn.groups import Element
from equilearn.symmetry import Symmetry

Samples: TypeAlias = int | Literal["all"] | None


@dataclass(frozen=True)
class Elements:
    """Group elements chosen for each input: the model is evaluated on `g^-1 x`.

    Args:
        g: elements of batch shape `(B, k)`.
        weight: shape `(B, k)`, summing to one over `k` for every input.
        exact: whether the weighted sum over these elements *is* the symmetrized function, for
            every input; False where it is an estimate from random samples.
        aux: whatever else the strategy knows, such as `degenerate` (which inputs have no unique
            frame), `energy` or an `entropy` to add to the loss. Never used by the forward pass.
        shared: whether all inputs have the same elements, which makes moving them cheaper.
        soft: for a factor of the group (by its number, 0 for a group that is no product) that permutes:
            the soft permutations `(B, k, n, n)` through which its gradient flows.
        block: how many consecutive samples were drawn together, such as the two of an antithetic
            pair. Blocks are independent of each other.
        random: for which inputs the sum is an estimate, where some are exact and others are not;
            None where all are alike.
    """

    g: Element
    weight: Float[Tensor, "B k"]
    exact: bool = False
    aux: dict[str, Any] = field(default_factory=dict)
    shared: bool = False
    soft: dict[int, Tensor] | None = None
    block: int = 1
    random: Bool[Tensor, "B"] | None = None

    @property
    def count(self) -> int:
        """Elements per input, `k`."""
        return int(self.weight.shape[1])


class Strategy(nn.Module, ABC):
    """How the elements are chosen. A subclass states `name`, `check`, `sample` and `is_exact`.

    The law of the chosen elements must move with the input: `p(g | x) = p(hg | hx)`. Then
    `E[g f(g^-1 x)]` is equivariant whatever `f` is (Kim et al. 2023).

    A strategy is a module, so that one with a network of its own (a learned energy, a learned
    distribution) trains and saves together with the model. It stores its settings and nothing
    else: the elements of a call are returned, never kept.
    """

    name: str
    train_samples: Samples = "all"
    eval_samples: Samples = "all"

    @abstractmethod
    def check(self, symmetry: Symmetry) -> None:
        """Raise `InputError` where this strategy cannot serve the symmetry; says what can."""

    @abstractmethod
    def sample(
        self, symmetry: Symmetry, x: Data, k: Samples = None, generator: torch.Generator | None = None
    ) -> Elements:
        """The elements for each input.

        Args:
            symmetry: the group and its actions.
            x: inputs, batch first.
            k: elements per input; `"all"` for an exact enumeration; None for the strategy's own
                `train_samples` or `eval_samples`, by `self.training`.
            generator: where randomness comes from; None for torch's default generator.
        """

    @abstractmethod
    def is_exact(self, symmetry: Symmetry, x: Data | None = None) -> bool:
        """Whether the result is equivariant up to rounding, not only on average.

        With `x`, for those inputs; without, for inputs in general position.
        """

    @abstractmethod
    def forward_passes(self, symmetry: Symmetry) -> int:
        """Evaluations of the model per input, as the strategy stands (training or evaluation)."""

    def prepare(self, symmetry: Symmetry, example: Data | None = None) -> Strategy:
        """The strategy ready for this symmetry, and for data like the example where one is given.

        `symmetrize` calls it once. A strategy that builds a network for the data gives back a copy
        that has one; the others give back themselves.
        """
        return self

    def penalty(self, symmetry: Symmetry, x: Data, elements: Elements) -> Float[Tensor, ""]:
        """What to add to the loss for these elements of `x`, weighted; zero for most strategies."""
        return elements.weight.new_zeros(())

    def forward(
        self, symmetry: Symmetry, x: Data, k: Samples = None, generator: torch.Generator | None = None
    ) -> Elements:
        """The same as `sample`."""
        return self.sample(symmetry, x, k, generator)

    def _samples(self, k: Samples) -> Samples:
        """`k` if given, else the number for training or for evaluation."""
        if k is None:
            return self.train_samples if self.training else self.eval_samples
        return k if k == "all" else positive_int(k, "k")


# --- registry -------------------------------------------------------------------------------

_STRATEGIES: dict[str, Callable[..., Strategy]] = {}
_ALIASES = {"canonical": "canonicalize", "canonicalise": "canonicalize", "frame": "frames"}


def register_strategy(name: str, build: Callable[..., Strategy]) -> None:
    """Make a strategy known to `symmetrize` under a name.

    Args:
        name: what users type.
        build: makes the strategy from keyword options, usually its class.

    Raises:
        InputTypeError: if `build` cannot be called.

    Example:
        >>> from equilearn.symmetrization import Average, register_strategy, strategies
        >>> register_strategy("average", Average)
        >>> strategies()
        ('average', 'frames', 'canonicalize', 'learned')
    """
    if not callable(build):
        raise InputTypeError(f"A strategy is registered with a class or function that builds it, got {build!r}.")
    _STRATEGIES[name] = build


def strategies() -> tuple[str, ...]:
    """Names that `symmetrize` knows, in the order of registration.

    Example:
        >>> strategies()[:4]
        ('average', 'frames', 'canonicalize', 'learned')
    """
    return tuple(_STRATEGIES)


def make_strategy(strategy: str | Strategy, **options: Any) -> Strategy:
    """A strategy from its name and options; a `Strategy` is passed through."""
    if isinstance(strategy, Strategy):
        if options:
            raise InputError(
                f"Options {sorted(options)} were given beside a {type(strategy).__name__} object. "
                "Give them to its constructor instead."
            )
        return strategy
    if not isinstance(strategy, str):
        raise InputTypeError(f"strategy must be a name or a Strategy, got {type(strategy).__name__}.")
    name = _ALIASES.get(strategy.lower(), strategy.lower())
    build = _STRATEGIES[one_of(name, _STRATEGIES, "strategy")]
    try:
        return build(**options)
    except TypeError as error:
        raise InputTypeError(f"Strategy {name!r} does not take these options: {error}.") from error


# --- shared by strategies -------------------------------------------------------------------


def uniform_weight(x: Data, count: int) -> Float[Tensor, "B k"]:
    """`1 / k` for every element, in the floating dtype of the data."""
    leaf = first_leaf(x)
    dtype = leaf.dtype if leaf.is_floating_point() else torch.get_default_dtype()
    return torch.full((batch_size(x), count), 1.0 / count, dtype=dtype, device=leaf.device)


def generator_device(generator: torch.Generator | None, device: torch.device) -> torch.device:
    """Where to draw: a generator's own device, else that of the data."""
    return device if generator is None else generator.device
