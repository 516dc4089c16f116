"""The command `equilearn field` and its help. What it does stands in `_field.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equilearn.cli._app import Json, Out, Preset, Seed, _lines, app


@app.command(
    epilog=_lines(
        "equilearn field era5.nc --var t2m",
        "equilearn field era5.nc --var t2m --compare --preset full --out t2m",
        "equilearn field era5.nc --var t2m --static elevation.nc:z --model tetnp",
        "equilearn field stations.csv --var t2m --units K",
        "equilearn field era5.nc --var t2m --at stations.csv --time 2019-03-27T12",
        "equilearn field --load t2m/model.safetensors --at stations.csv --units K",
    )
)
def field(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            show_default=False,
            help="A netCDF file (extra `fields`) with time, latitude and longitude, or a `.csv` file with a line for "
            "each station and time.",
        ),
    ] = None,
    var: Annotated[str | None, typer.Option(metavar="NAME", help="The variable, or the column of a CSV file.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="convcnp (default), unet, equivcnp, relaxedconvcnp, tetnp, tepttnp: each bends where the place "
            "demands it; cnp, tnp, pttnp: without a symmetry.",
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Keep the symmetry exactly: no knowledge of place.")] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Train the strict process as well, and say what place pays against it.")
    ] = False,
    patch: Annotated[
        str | None, typer.Option(metavar="ROWS,COLUMNS", help="Cells of a training task. Default: 16,16.")
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            metavar="MIN,MAX",
            help="Observations of a training task: as few and as many as you will have. Default: 5,100 on a patch, 3 "
            "to three quarters of the stations.",
        ),
    ] = None,
    train_days: Annotated[
        float | None, typer.Option(metavar="D", help="The first days, to train on. Default: all not held out.")
    ] = None,
    test_days: Annotated[
        float | None, typer.Option(metavar="D", help="The last days, held out. Default: a quarter.")
    ] = None,
    static: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[FILE:]VAR",
            help="A field that does not change, such as elevation.nc:z, whose straight-line effect (a lapse rate) is "
            "taken off before and put back after; repeatable.",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Training steps. Default: the preset's.")] = None,
    preset: Preset = "quick",
    at: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Predict from these observations, onto the grid and at each station: a CSV file (empty values are "
            "places to predict at) or netCDF. Default: from random cells of the times held out.",
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="Which times to predict: 2019-03-27, 2019-03-27T12, all. Default: up to 24, all of --at.",
        ),
    ] = None,
    load: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", show_default=False, help="A model.safetensors to predict with; trains nothing."),
    ] = None,
    units: Annotated[
        str | None,
        typer.Option(
            metavar="UNIT", help="What the values of a CSV file are in; what those of a netCDF file must be in."
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Of a CSV file whose times are numbers: hours since when.")
    ] = None,
    coords: Annotated[
        str | None,
        typer.Option(
            metavar="lat=A,lon=B,...", help="Names of lat, lon, time (and station) that are not the usual ones."
        ),
    ] = None,
    select: Annotated[
        str | None, typer.Option(metavar="DIM=VALUE,...", help="Which level of further dimensions, such as level=850.")
    ] = None,
    out: Out = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """I have scattered observations of a field: predict it with honest uncertainty. Does place matter?

    Trains a neural process on the first days, scores it on the last ones beside simpler methods, and says whether the
    field departs from symmetry and what using the place pays. Writes DIR/predictions.nc (mean, std, observed,
    departure), DIR/model.safetensors, DIR/summary.json and DIR/report.html with maps. Stopped or killed, the same
    command goes on where it was.
    """
    from equilearn.cli import _field

    _field.run(
        file,
        reading={"var": var, "units": units, "since": since, "coords": coords, "select": select},
        training={
            "model": model,
            "strict": strict,
            "compare": compare,
            "patch": patch,
            "context": context,
            "train_days": train_days,
            "test_days": test_days,
            "static": static,
            "steps": steps,
            "preset": preset,
            "seed": seed,
        },
        load=load,
        at=at,
        time=time,
        out=out,
        as_json=as_json,
    )
