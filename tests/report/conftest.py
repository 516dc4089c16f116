"""Summaries as the advisor, a study and an audit write them, synthetic, and a strict reader of pages."""

from __future__ import annotations

import json
import math
import random
from html.parser import HTMLParser
from typing import Any

import pytest

ANGLES = [f"rotation {a}°" for a in (45, 90, 135, 180, 225, 270, 315)]
# Name, label, parameters, seconds at 1000, ms, accuracy as seen and rotated at 50, 200 and 1000,
# equivariance error off and on quarter turns.
STRATEGIES = [
    ("plain", "plain", 28_458, 4.1, 2.6, (0.74, 0.90, 0.966), (0.27, 0.36, 0.41), 0.78, 0.81),
    ("augment", "augmented", 28_458, 4.6, 2.6, (0.57, 0.79, 0.918), (0.54, 0.77, 0.905), 0.16, 0.14),
    ("average", "averaged over C8", 28_458, 21.3, 19.4, (0.66, 0.84, 0.941), (0.63, 0.82, 0.933), 0.06, 2.3e-7),
    ("canonicalize", "canonicalized", 28_458, 5.9, 3.9, (0.64, 0.82, 0.922), (0.61, 0.80, 0.907), 0.09, 4.1e-7),
    ("exact", "exact (C8 convolutions)", 61_230, 26.9, 11.2, (0.70, 0.88, 0.957), (0.65, 0.85, 0.944), 0.05, 3.0e-7),
]
SIZES = (50, 200, 1000)


def _row(strategy: tuple[Any, ...], place: int, seed: int, noise: random.Random) -> dict[str, Any]:
    name, _, parameters, seconds, ms, seen, moved, off, on = strategy
    spread = (0.03, 0.012, 0.004)[place]
    per_element = [
        {"element": a, "error": (on if int(a[9:-1]) % 90 == 0 else off) * math.exp(0.1 * noise.gauss(0, 1))}
        for a in ANGLES
    ]
    error = sum(e["error"] for e in per_element) / len(per_element)
    return {
        "strategy": name,
        "train_size": SIZES[place],
        "seed": seed,
        "score": min(1.0, seen[place] + spread * noise.gauss(0, 1)),
        "score_transformed": min(1.0, moved[place] + spread * noise.gauss(0, 1)),
        "equivariance_error": error,
        "equivariance_interval": [0.94 * error, 1.06 * error],
        "per_element": per_element,
        "floor": 1.9e-7,
        "interpolation_floor": 0.041 * (1.4 if name == "plain" else 1.0),
        "resampling": 0.0,
        "verdict": "absent" if name == "plain" else "approximate",
        "seconds": seconds * (0.4, 0.7, 1.0)[place] * math.exp(0.05 * noise.gauss(0, 1)),
        "inference_ms": ms * math.exp(0.04 * noise.gauss(0, 1)),
        "parameters": parameters,
    }


def make_advise(seeds: tuple[int, ...] = (0, 1, 2)) -> dict[str, Any]:
    """An `advise digits --group SO2` run."""
    noise = random.Random(0)
    return {
        "kind": "advise",
        "equilearn": "0.1.0",
        "created": "2030-01-02T03:04:05+00:00",
        "command": "equilearn advise digits --group SO2 --sizes 50,200,1000 --seeds 3 --preset quick "
        "--out results/digits",
        "preset": "quick",
        "environment": {
            "python": "3.11.7",
            "torch": "2.13.0+cpu",
            "platform": "Linux-6.1-x86_64",
            "threads": 2,
            "device": "cpu",
        },
        "total_seconds": 161.4,
        "task": {
            "name": "digits",
            "about": "1,797 handwritten digits of 8 by 8 pixels, from 43 writers (scikit-learn)",
            "kind": "classification",
            "classes": 10,
            "class_names": [str(i) for i in range(10)],
            "train": 1200,
            "test": 597,
            "input_shape": [1, 8, 8],
            "metric": "accuracy",
            "higher_is_better": True,
        },
        "symmetry": {
            "group": "SO2",
            "input": "images",
            "output": "trivial",
            "exact": False,
            "moved": "rotated",
        },
        "strategies": [
            {"name": s[0], "label": s[1], "describe": d, "symmetric": s[0] != "plain"}
            for s, d in zip(
                STRATEGIES,
                (
                    "the network as it is, nothing done about the symmetry",
                    "the plain network, trained on randomly transformed copies",
                    "the mean of the plain network's outputs over eight turns of the input",
                    "the input is turned to a standard pose first, found from its moments",
                    "a network whose every layer commutes with turns by 45°",
                ),
                strict=True,
            )
        ],
        "skipped": [
            {
                "strategy": "frames",
                "reason": "PCA frames need points or vectors; the inputs are images of shape (1, 8, 8).",
            }
        ],
        "failed": [],
        "rows": [_row(s, place, seed, noise) for s in STRATEGIES for place in range(3) for seed in seeds],
        "data_symmetry": {
            "p_value": 0.0005,
            "effect": 0.45,
            "interval": [0.43, 0.47],
            "symmetric": False,
            "sentence": "A classifier tells rotated copies from the data in 95 % of held-out cases, so "
            "the data are not "
            "symmetric under SO2: digits come upright.",
            "pose": {
                "informative": True,
                "p_value": 0.002,
                "effect": 0.12,
                "confusions": [
                    {"a": 6, "b": 9, "rate": 0.214, "element": "half turn", "p_value": 0.0004},
                    {"a": 9, "b": 6, "rate": 0.187, "element": "half turn", "p_value": 0.002},
                ],
                "sentence": "Once rotations are removed, 6 and 9 are taken for each other: the pose tells the label.",
            },
            "coverage": [{"class": i, "samples": 120, "coverage": 0.03 + 0.004 * i} for i in range(10)],
        },
        "prediction": None,
        "recommendation": {
            "strategy": "plain",
            "headline": "If inputs will come as they are in your data, use plain (96.6 %). If they will "
            "come rotated, use "
            "exact: 94.4 % there, where plain falls to 41.0 %.",
            "reasons": [
                "A classifier tells rotated copies from the data in 95 % of held-out cases.",
                "Once rotations are removed, 6 and 9 are taken for each other.",
                "So inputs are expected as they are in your data: the choice rests on the scores there.",
            ],
            "if_deployed_as_is": {
                "strategy": "plain",
                "score": 0.966,
                "interval": [0.953, 0.978],
                "sentence": "If inputs come as they are in your data: plain, accuracy 96.6 % [95.3 %, "
                "97.8 %]. Not shown to "
                "be worse: exact.",
            },
            "if_deployed_transformed": {
                "strategy": "exact",
                "score": 0.944,
                "interval": [0.927, 0.960],
                "sentence": "If inputs come rotated: exact, accuracy 94.4 % [92.7 %, 96.0 %]. Every other "
                "strategy was worse.",
            },
            "confidence": {
                "level": "high",
                "probability": 0.97,
                "sentence": "In 97 % of resampled runs (test inputs and training seeds) plain is the best "
                "strategy or within "
                "half a point of it.",
            },
            "would_change": [
                "How inputs come. exact scores 95.7 % as seen (0.9 points less than plain) and 53.4 "
                "points more on rotated "
                "inputs: it pays once more than about 2 % of them come rotated.",
                "The amount of data. On rotated inputs plain is 38.0 points behind the best strategy with 50 training "
                "samples and 53.4 points behind with 1000.",
            ],
        },
    }


def make_study() -> dict[str, Any]:
    """A small study with one claim that fails and one that could not be tested."""
    noise = random.Random(1)
    return {
        "kind": "study",
        "equilearn": "0.1.0",
        "created": "2030-01-02T03:04:05+00:00",
        "command": "equilearn study run averaging --preset quick --out results/averaging",
        "study": {
            "name": "averaging",
            "title": "How fast does averaging over samples become exact?",
            "statement": "The error of averaging a network over k random elements falls as one over the "
            "square root of k",
            "preset": "quick",
            "seed": 0,
            "settings": {"width": 64, "groups": ["SO2", "SO3"]},
        },
        "environment": {"python": "3.11.7", "torch": "2.13.0+cpu", "threads": 2},
        "rows": [
            {
                "group": g,
                "k": k,
                "seed": seed,
                "error": a / math.sqrt(k) * math.exp(0.08 * noise.gauss(0, 1)),
                "ok": True,
            }
            for g, a in (("SO2", 0.4), ("SO3", 0.7))
            for k in (1, 2, 4, 8, 16, 32)
            for seed in range(3)
        ],
        "plot": {"x": "k", "y": "error", "series": "group", "logx": True, "logy": True},
        "claims": [
            {
                "name": "slope_so2",
                "statement": "The slope on SO2 is −1/2",
                "value": -0.51,
                "bound": "within 0.05",
                "held": True,
            },
            {
                "name": "slope_so3",
                "statement": "The slope on SO3 is −1/2",
                "value": -0.58,
                "bound": 0.05,
                "held": False,
            },
            {"name": "slope_o3", "statement": "The same on O3", "value": None, "bound": 0.05, "held": None},
        ],
        "total_seconds": 12.3,
    }


def make_audit() -> dict[str, Any]:
    """An audit of a network that is equivariant to quarter turns only."""
    return {
        "kind": "audit",
        "equilearn": "0.1.0",
        "created": "2030-01-02T03:04:05+00:00",
        "command": "equilearn audit mymodel:build test.npz --group SO2",
        "environment": {"python": "3.11.7", "torch": "2.13.0+cpu", "threads": 2},
        "model": "mymodel:build",
        "data": "test.npz",
        "group": "SO2",
        "verdict": "approximate",
        "error": {
            "mean": 0.0721,
            "interval": [0.066, 0.0781],
            "maximum": 0.13,
            "per_element": [{"element": a, "error": 2.1e-7 if i % 2 else 0.1 + 0.01 * i} for i, a in enumerate(ANGLES)],
            "floor": 1.8e-7,
            "interpolation_floor": 0.04,
            "resampling": 0.0,
            "verdict": "approximate",
            "chance": 1.3,
            "confidence": 0.95,
            "normalisation": "norm",
            "notes": ["the error is beyond that of interpolating on the grid (0.04)"],
            "samples": 7,
            "inputs": 256,
        },
        "layers": [
            {"layer": "features.0", "kind": "LiftingConv2d", "law": "turned and shifted", "error": 0.051},
            {"layer": "features.1", "kind": "GroupConv2d", "law": "turned and shifted", "error": 0.068},
            {"layer": "pool", "error": 0.071},
            {"layer": "head", "error": 0.072},
        ],
        "total_seconds": 3.2,
    }


def make_prediction() -> dict[str, Any]:
    """The summary of `advise --predict-only`, with a test that only advise makes."""
    return {
        "kind": "prediction",
        "command": "equilearn advise digits --group C8 --predict-only",
        "task": {"name": "digits", "classes": 2},
        "symmetry": {"group": "C8", "input": "images"},
        "prediction": {
            "made": True,
            "sentence": "It will not learn it",
            "why": "Classes are close",
            "growth_sentence": "",
            "network": "a kernel",
            "seeds": 40,
            "order": 8,
            "classes": [
                {"name": "six", "error": 1.3, "accuracy": 0.1, "separation": 0.15, "density": 0.2, "measured": 0.25},
                {"name": "nine", "error": 0.8, "accuracy": 0.9, "separation": 0.25, "density": 0.2, "learnable_at": 4},
            ],
            "growth": [{"order": n, "error": [1.0, 1.0], "accuracy": [0.1, 0.2 * n**0.5]} for n in (2, 4, 8)],
            "spectrum": [{"name": "trivial", "inverse": 3.0}, {"name": "frequency 1", "inverse": 0.5}],
            "assumptions": ["Bent <b>"],
            "test": {"sentence": "Trained"},
        },
    }


@pytest.fixture
def advise() -> dict[str, Any]:
    """The summary of an advise run."""
    return make_advise()


@pytest.fixture
def study() -> dict[str, Any]:
    """The summary of a study."""
    return make_study()


@pytest.fixture
def audit() -> dict[str, Any]:
    """The summary of an audit."""
    return make_audit()


@pytest.fixture
def prediction() -> dict[str, Any]:
    """The summary of a prediction."""
    return make_prediction()


# --- reading pages ---------------------------------------------------------------------------

VOID = {"meta", "br", "hr", "img", "input", "link", "col"}


class Page(HTMLParser):
    """Parses a page, refusing unbalanced tags, and keeps what tests ask for."""

    def __init__(self, source: str):
        super().__init__(convert_charrefs=True)
        self.source = source
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(source)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} repeats an attribute: {attrs}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    @property
    def text(self) -> str:
        """What is read, spaces joined."""
        return " ".join(" ".join(t for inside, t in self.texts if inside not in ("style", "script", "desc")).split())

    @property
    def embedded(self) -> Any:
        """The JSON in the page."""
        return json.loads("".join(t for inside, t in self.texts if inside == "script" and t.startswith("{")))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every `tag`."""
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture
def read() -> type[Page]:
    """Parses a page, refusing unbalanced tags."""
    return Page
