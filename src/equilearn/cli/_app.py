"""The commands and their help. What they do stands in the files beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find, measure, build in and price the symmetries of a model.",
    epilog="Start with: `equilearn advise digits --group SO2`",
)
study = typer.Typer(no_args_is_help=True, help="Run a built-in study: a published finding, tested.")
app.add_typer(study, name="study")


def _lines(*examples: str) -> str:
    """Examples for the end of a help text, one a line."""
    return "Examples:\n\n" + "\n\n".join(f"`{example}`" for example in examples)


DATA = (
    "`digits` (embedded), `nbody`, `cycles`, `exp`, `pattern`, `minkowski` or `modular` (generated), a `.npz` file "
    "with arrays x and y (and x_test, y_test), a `.csv` file with `--target`, IDX image files as MNIST is published, "
    "or `package.module:function` that returns a Task."
)
Data = Annotated[str, typer.Argument(metavar="DATA", help=DATA, show_default=False)]
GROUP = "The suspected symmetry: C4, D4 (order 8), S5, SO2, O3, SE3, SL2, Lorentz13, ...; products: SO3xS5."
Group = Annotated[str, typer.Option("--group", "-g", metavar="G", show_default=False, help=GROUP)]
Action = Annotated[
    str | None,
    typer.Option(
        "--action",
        metavar="ACTION",
        help="What it does to inputs: images, points:N (points:5,vectors=1,scalars=1), vectors:K, sets, "
        "shifts, graphs, pairs, trivial; several parts joined by +. Default: what their shape suggests.",
    ),
]
Output = Annotated[
    str | None,
    typer.Option("--output", metavar="ACTION", help="What it does to outputs. Default: nothing (invariance)."),
]
Target = Annotated[str | None, typer.Option(metavar="COLUMN", help="The column of a CSV file to predict.")]
Images = Annotated[
    bool | None,
    typer.Option(
        "--images/--no-images",
        show_default=False,
        help="Whether inputs are images, whose layout becomes (batch, channels, height, width). Default: what --action "
        "says, else what their shape suggests.",
    ),
]
Kind = Annotated[
    str | None, typer.Option(metavar="KIND", help="classification or regression. Default: what the targets suggest.")
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="DIR", show_default=False, help="Where the results go.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON, and nothing else, on stdout.")]
Seed = Annotated[int, typer.Option(metavar="S", help="The first random seed.")]
Workers = Annotated[int | None, typer.Option(metavar="N", help="Processes. Default: one per core that may be used.")]
Preset = Annotated[str, typer.Option(metavar="quick|full", help="Minutes on two cores, or as long as it takes.")]


def _version(wanted: bool) -> None:
    if wanted:
        from equilearn._version import __version__

        typer.echo(f"equilearn {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(
    epilog=_lines(
        "equilearn advise digits --group SO2",
        "equilearn advise train.npz --group C4 --sizes 50,200,1000 --seeds 3 --out results",
        "equilearn advise measurements.csv --target energy --group SO3 --action vectors:3",
        "equilearn advise t10k-images-idx3-ubyte.gz --group SO2 --preset full",
        "equilearn advise nbody --sizes 200,1000",
        "equilearn advise modular --sizes 930",
        "equilearn advise digits --group C4 --predict-only",
        "equilearn advise mypackage.tasks:load --group Lorentz13",
    )
)
def advise(
    data: Data,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            "-g",
            metavar="G",
            show_default=False,
            help=f"{GROUP} Default: the symmetry that the data come with (nbody, graphs, a Task of yours).",
        ),
    ] = None,
    action: Action = None,
    output: Output = None,
    target: Target = None,
    kind: Kind = None,
    images: Images = None,
    sizes: Annotated[str | None, typer.Option(metavar="N,N,...", help="Training sizes. Default: the preset's.")] = None,
    seeds: Annotated[int | None, typer.Option(metavar="N", help="Repetitions. Default: the preset's.")] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Training steps. Default: the preset's.")] = None,
    preset: Preset = "quick",
    strategies: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Strategies to compare. Default: all that fit; relaxed by name or in full.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION", help="Takes the Task, returns a fresh network to give the symmetry to."
        ),
    ] = None,
    test_fraction: Annotated[
        float | None, typer.Option(metavar="F", help="Part held out where the data come without a test split.")
    ] = None,
    out: Out = None,
    predict_only: Annotated[
        bool,
        typer.Option(
            "--predict-only",
            help="Train nothing: say in seconds whether the plain network would carry the symmetry over by itself. "
            "Writes only where --out says.",
        ),
    ] = False,
    workers: Workers = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Should this model get this symmetry, how, and at what price?

    Trains the strategies that fit on your data at several training sizes, measures them on inputs as seen and
    transformed, and writes DIR/report.html, DIR/summary.json and DIR/store.db. Stopped or killed, the same
    command goes on where it was.
    """
    from equilearn.cli import _advise, _predict

    run = _predict.run if predict_only else _advise.run
    run(
        data,
        group,
        names={"action": action, "output": output},
        loading={"target": target, "kind": kind, "images": images, "test_fraction": test_fraction},
        options={
            "sizes": sizes,
            "seeds": seeds,
            "steps": steps,
            "preset": preset,
            "strategies": strategies,
            "model": model,
            "workers": workers,
            "seed": seed,
        },
        out=out,
        as_json=as_json,
    )


@app.command(
    epilog=_lines(
        "equilearn audit mymodel:build test.npz --group SO2",
        "equilearn audit model.onnx digits --group C4 --out audit",
        "equilearn audit mymodel:build clouds.npz --group SO3xS5 --action points:5 --output points:5 --json",
    )
)
def audit(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            show_default=False,
            help="`package.module:function` that returns a model, or a `.onnx` file (of any framework; extra `onnx`).",
        ),
    ],
    data: Data,
    group: Group,
    action: Action = None,
    output: Output = None,
    target: Target = None,
    kind: Kind = None,
    images: Images = None,
    samples: Annotated[int, typer.Option(metavar="N", help="Group elements to try (all, of a small group).")] = 16,
    inputs: Annotated[int, typer.Option(metavar="N", help="Inputs to try them on, at most.")] = 256,
    out: Out = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """How equivariant is this trained model: exactly up to rounding, approximately, or not at all?

    The error is relative L2 over outputs, per group element and (for a torch model) per layer. With --out it is
    also written to DIR/summary.json and DIR/report.html.
    """
    from equilearn.cli import _audit

    _audit.run(
        model,
        data,
        group,
        names={"action": action, "output": output},
        loading={"target": target, "kind": kind, "images": images},
        samples=samples,
        inputs=inputs,
        seed=seed,
        out=out,
        as_json=as_json,
    )


@study.command("list")
def study_list(as_json: Json = False) -> None:
    """The studies and what each tests."""
    from equilearn.cli import _study

    _study.listing(as_json)


@study.command("show", epilog=_lines("equilearn study show averaging"))
def study_show(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="See `equilearn study list`.")],
    as_json: Json = False,
) -> None:
    """What a study claims, how long it takes, and its settings."""
    from equilearn.cli import _study

    _study.show(name, as_json)


@study.command(
    "run",
    epilog=_lines(
        "equilearn study run averaging",
        "equilearn study run averaging --preset full --seed 1 --out results",
        "equilearn study run averaging --set repeats=50 --strict",
    ),
)
def study_run(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="See `equilearn study list`.")],
    preset: Preset = "quick",
    seed: Seed = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting (`study show NAME` lists them); repeatable."),
    ] = None,
    out: Out = None,
    workers: Workers = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 unless every claim was tested and held.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a study and say which of its claims hold."""
    from equilearn.cli import _study

    _study.run(
        name,
        preset=preset,
        seed=seed,
        settings=settings or [],
        out=out,
        workers=workers,
        strict=strict,
        as_json=as_json,
    )


@app.command(epilog=_lines("equilearn report results"))
def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", show_default=False, help="Where advise, audit, field or a study wrote.")
    ],
) -> None:
    """Draw DIR/report.html again from what was measured. Nothing is trained."""
    from equilearn.cli import _report

    _report.run(folder)


@app.command(epilog=_lines("equilearn doctor", "equilearn doctor --json"))
def doctor(as_json: Json = False) -> None:
    """What is installed, what is missing and how to add it, threads and devices."""
    from equilearn.cli import _doctor

    _doctor.run(as_json)
