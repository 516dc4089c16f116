"""Gridded fields from netCDF: coordinates, times, missing values, tasks, normalisation; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from equilearn import _check
from equilearn._check import InputError, InputTypeError, MissingExtraError
from equilearn.data.fields import FieldTask, Normalizer, PointSet, from_xarray, join, write_example_fields, write_netcdf
from equilearn.data.fields._source import Lazy

xr = pytest.importorskip("xarray")
pytest.importorskip("netCDF4")

ERA5 = Path(__file__).parents[4] / "shared" / "data" / "era5_t2m_uk_2019_03.nc"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_example_fields(tmp_path / "uk.nc", torch.Generator().manual_seed(0), days=3, size=(12, 15))


@pytest.fixture
def data(path: Path):
    with xr.open_dataset(path) as opened:
        return opened.load()


def small(hours: int = 4, **attributes: str):
    """A Dataset `a(time, lat, lon)` whose values tell where they are."""
    values = 100.0 * np.arange(hours)[:, None, None] + 10.0 * np.arange(3)[:, None] + np.arange(5)
    times = np.datetime64("2020-02-28T06", "ns") + np.arange(hours) * np.timedelta64(6, "h")
    return xr.Dataset(
        {"a": (("time", "lat", "lon"), values, {"units": "m", **attributes})},
        {"time": times, "lat": [50.0, 51.0, 52.0], "lon": [0.0, 1.0, 2.0, 3.0, 4.0]},
    )


# --- what is read -----------------------------------------------------------------------


def test_file_and_dataset_and_array_agree(path, data):
    ways = [from_xarray(path, "t2m"), from_xarray(str(path), "t2m", held=False), from_xarray(data, "t2m")]
    ways.append(from_xarray(data["t2m"]))
    for way in ways:
        assert (way.names, way.units, way.reference) == (("t2m",), ("K",), "2019-03-01T00:00:00")
        assert way.hours.tolist() == list(range(72))
        assert way.lat[0] == 58 and way.lat[1] == 57.75  # downwards, as in the file
        assert torch.equal(way.values, torch.from_numpy(data["t2m"].values).unsqueeze(-1))
    assert isinstance(ways[1].source, Lazy)
    assert "t2m [K]: 72 times" in repr(ways[0])


def test_order_of_dimensions_does_not_matter(data):
    turned = from_xarray(data.transpose("longitude", "time", "latitude"), "t2m")
    assert torch.equal(turned.values, from_xarray(data, "t2m").values)


def test_coordinates_found_by_convention():
    data = small()
    for names, attributes in (
        ({"lat": "rows", "lon": "cols"}, {"rows": {"units": "degrees_north"}, "cols": {"units": "degreeE"}}),
        ({"lat": "p", "lon": "q"}, {"p": {"standard_name": "latitude"}, "q": {"standard_name": "longitude"}}),
        ({"lat": "p", "lon": "q", "time": "when"}, {"p": {"axis": "Y"}, "q": {"axis": "X"}}),
        ({"lat": "Latitude", "lon": "LON", "time": "valid_time"}, {}),
    ):
        other = data.rename(names)
        for name, attrs in attributes.items():
            other[name].attrs.update(attrs)
        found = from_xarray(other, "a")
        assert found.lat.tolist() == [50, 51, 52] and len(found.lon) == 5 and found.hours.tolist() == [6, 12, 18, 24]


def test_coordinates_named_by_hand():
    data = small().rename(lat="north", lon="east")
    with pytest.raises(InputError, match=r"Which of the dimensions time, north, east of 'a' are lat and lon\? Name"):
        from_xarray(data, "a")
    assert from_xarray(data, "a", coords={"lat": "north", "lon": "east"}).lat.tolist() == [50, 51, 52]
    with pytest.raises(InputError, match=r"Unknown dimension of 'a' 'nort'. Did you mean 'north'"):
        from_xarray(data, "a", coords={"lat": "nort", "lon": "east"})
    with pytest.raises(InputError, match="Unknown role of a coordinate 'latitude'"):
        from_xarray(data, "a", coords={"latitude": "north", "lon": "east"})
    with pytest.raises(InputError, match="names one dimension twice"):
        from_xarray(data, "a", coords={"lat": "north", "lon": "north"})


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([358.0, 359.0, 0.0, 1.0, 2.0], [-2, -1, 0, 1, 2]),
        ([190.0, 191.0, 192.0, 193.0, 194.0], [-170, -169, -168, -167, -166]),
        ([178.0, 179.0, -180.0, -179.0, -178.0], [-182, -181, -180, -179, -178]),
        ([0.0, 72.0, 144.0, 216.0, 288.0], [0, 72, 144, 216, 288]),
        ([4.0, 3.0, 2.0, 1.0, 0.0], [4, 3, 2, 1, 0]),
    ],
)
def test_longitudes_without_a_jump(given, wanted):
    assert from_xarray(small().assign_coords(lon=given), "a").lon.tolist() == wanted


def test_metres_are_not_angles():
    data = small().rename(lat="y", lon="x").assign_coords(x=[0.0, 400.0, 800.0, 1200.0, 1600.0], y=[1e6, 1.1e6, 1.2e6])
    assert from_xarray(data, "a").lon.tolist() == [0, 400, 800, 1200, 1600]


def test_time_in_hours_since_a_date():
    found = from_xarray(small(), "a", reference="2020-02-01")
    assert found.hours[0] == 27 * 24 + 6 and found.reference == "2020-02-01T00:00:00"
    with pytest.raises(InputError, match="reference must be a date such as '2019-03-01', got 'soon'"):
        from_xarray(small(), "a", reference="soon")


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "proleptic_gregorian", None])
def test_calendars(calendar):
    data = small().drop_vars("time")
    attributes = {"units": "days since 2020-02-28", **({"calendar": calendar} if calendar else {})}
    data = data.assign_coords(time=("time", [0.0, 1.0, 2.0, 3.0], attributes))
    found = from_xarray(data, "a")
    assert found.hours.tolist() == [0, 24, 48, 72]
    assert found.reference == "2020-02-28T00:00:00"
    if calendar == "noleap":  # no 29 February
        assert from_xarray(data, "a", reference="2020-03-01").hours.tolist() == [-24, 0, 24, 48]


def test_without_time():
    found = from_xarray(small().isel(time=0, drop=True), "a")
    assert len(found) == 1 and found.values.shape == (1, 3, 5, 1)
    with pytest.raises(InputError, match=r"1 times on 1 days cannot be split into 1 and None days"):
        found.split(1)


def test_further_dimensions():
    data = small().expand_dims(level=[500, 850]).copy()
    data["a"] = data["a"] + data["level"]
    with pytest.raises(InputError, match=r"further dimensions: level \(2\).*select=\{'level': ...\}"):
        from_xarray(data, "a")
    assert from_xarray(data, "a", select={"level": 850}).values[0, 0, 0, 0] == 850
    with pytest.raises(InputError, match=r"no level = 700. It has 500, 850"):
        from_xarray(data, "a", select={"level": 700})
    assert from_xarray(data.isel(level=[0]), "a").values.shape == (4, 3, 5, 1)


def test_several_variables():
    data = small()
    data["b"] = (data["a"].dims, -data["a"].values)
    both = from_xarray(data, ["a", "b"])
    assert both.units == ("m", "") and torch.equal(both.values[..., 1], -both.values[..., 0])
    with pytest.raises(InputError, match="once each"):
        from_xarray(data, ["a", "a"])
    with pytest.raises(InputError, match=r"Which variable of the Dataset\? It has a, b"):
        from_xarray(data)
    data["c"] = data["a"].isel(lon=slice(3)).rename(lon="longitude")
    with pytest.raises(InputError, match="'c' lies on another grid than 'a'"):
        from_xarray(data, ["a", "c"])


def test_integers_and_packed_values(tmp_path):
    data = small()
    data["a"].encoding.update(dtype="int16", scale_factor=0.5, add_offset=10.0, _FillValue=-999)
    data["a"][0, 0, 0] = np.nan
    data.to_netcdf(tmp_path / "packed.nc", engine="netcdf4")
    found = from_xarray(tmp_path / "packed.nc", "a").values
    assert torch.isnan(found[0, 0, 0, 0]) and found[3, 2, 4, 0] == 324
    assert from_xarray(data.fillna(0).astype(int), "a").values.dtype == torch.float32


def test_static_fields(path, data, tmp_path):
    found = from_xarray(path, "t2m", static=["elevation"])
    assert torch.equal(found.coordinates[..., 2], torch.from_numpy(data["elevation"].values).double())
    data["elevation"].sortby("latitude").to_netcdf(tmp_path / "other.nc", engine="netcdf4")
    apart = from_xarray(path, "t2m", static={"elevation": tmp_path / "other.nc"})
    assert torch.equal(apart.coordinates, found.coordinates)
    with pytest.raises(InputError, match="Did you mean 'elevation'"):
        from_xarray(path, "t2m", static=["elevatoin"])
    with pytest.raises(InputError, match="lies on another grid than the variable"):
        from_xarray(path, "t2m", static={"elevation": data["elevation"].isel(latitude=slice(5))})
    with pytest.raises(InputError, match="'t2m' changes with time"):
        from_xarray(path, "t2m", static=["t2m"])
    holes = data.assign(elevation=data["elevation"].where(data["elevation"] > 0))
    points = from_xarray(holes, "t2m", static=["elevation"]).points(0)
    assert int(points.count) == int((data["elevation"] > 0).sum())


# --- what is refused --------------------------------------------------------------------


def test_unknown_variable(path):
    with pytest.raises(InputError, match=r"Unknown variable of .*uk.nc 't2n'. Did you mean 't2m'\? Known: t2m, elev"):
        from_xarray(path, "t2n")


def test_units(path):
    assert from_xarray(path, "t2m", units="K").units == ("K",)
    with pytest.raises(InputError, match="t2m of .* is in K, not in degC"):
        from_xarray(path, "t2m", units="degC")


@pytest.mark.parametrize("dim", ["time", "lat", "lon"])
def test_unsorted_and_repeated_coordinates(dim):
    data = small()
    with pytest.raises(InputError, match=f"'{dim}' is neither increasing nor decreasing. Sort it, with ds.sortby"):
        from_xarray(data.isel({dim: [1, 0, 2]}), "a")
    with pytest.raises(InputError, match=f"'{dim}' holds 1 values twice"):
        from_xarray(data.isel({dim: [0, 1, 1]}), "a")


def test_times_that_run_backwards():
    with pytest.raises(InputError, match="run backwards"):
        from_xarray(small().isel(time=slice(None, None, -1)), "a")


def test_time_without_a_calendar():
    for values, attributes in (([0, 6, 12, 18], {}), ([0.0, 6.0, 12.0, 18.0], {"units": "hours"})):
        data = small().drop_vars("time").assign_coords(time=("time", values, attributes))
        with pytest.raises(
            InputError, match="plain numbers .* no units such as 'hours since 1900-01-01' and so no cal"
        ):
            from_xarray(data, "a")
    data = small().drop_vars("time").assign_coords(time=("time", [0, 1, 2, 3], {"units": "days since long ago"}))
    with pytest.raises(InputError, match="The times or values of the Dataset cannot be decoded"):
        from_xarray(data, "a")
    with pytest.raises(InputError, match="'time' has no coordinates: what times these are is not known"):
        from_xarray(small().drop_vars("time"), "a")
    times = small()["time"].values.copy()
    times[1] = np.datetime64("NaT")
    with pytest.raises(InputError, match="holds times that are missing"):
        from_xarray(small().assign_coords(time=times), "a")


def test_places_without_coordinates():
    with pytest.raises(InputError, match="'lat' has no coordinates: where its cells lie is not known"):
        from_xarray(small().drop_vars("lat"), "a")
    with pytest.raises(InputError, match="2 values beyond 90 degrees"):
        from_xarray(small().assign_coords(lat=[89.0, 91.0, 93.0]), "a")
    with pytest.raises(InputError, match="holds 1 values that are NaN"):
        from_xarray(small().assign_coords(lat=[1.0, np.nan, 3.0]), "a")
    with pytest.raises(InputError, match="holds <U1, not numbers"):
        from_xarray(small().assign_coords(lat=["a", "b", "c"]), "a")
    curved = small().rename(lat="i", lon="j").drop_vars(["i", "j"])
    curved = curved.assign_coords(lat=(("i", "j"), np.zeros((3, 5))))
    with pytest.raises(InputError, match="'lat' is two-dimensional"):
        from_xarray(curved, "a")


def test_values_that_are_no_numbers():
    with pytest.raises(InputError, match="holds <U1, not numbers"):
        from_xarray(small().assign(a=(("time", "lat", "lon"), np.full((4, 3, 5), "x"))), "a")
    data = small()
    data["a"][0, 0, :2] = np.inf
    with pytest.raises(InputError, match="2 values of 'a' are infinite; mark what is missing with NaN"):
        from_xarray(data, "a")


def test_files_that_cannot_be_read(path, tmp_path):
    with pytest.raises(InputError, match=r"No file .*uk.nz.*Did you mean .*uk.nc"):
        from_xarray(tmp_path / "uk.nz", "t2m")
    with pytest.raises(InputError, match="is a folder"):
        from_xarray(tmp_path, "t2m")
    text = tmp_path / "text.nc"
    text.write_text("not netCDF")
    (tmp_path / "empty.nc").touch()
    for bad in (text, tmp_path / "empty.nc"):
        with pytest.raises(InputError, match="cannot be read as netCDF"):
            from_xarray(bad, "t2m")
    with pytest.raises(InputTypeError, match="takes a file, a Dataset or a DataArray, or several of them, got int"):
        from_xarray(3, "t2m")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="No file or dataset"):
        from_xarray([], "t2m")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_truncated_files(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"cannot be read as netCDF|Cannot read"):
        from_xarray(path, "t2m")


@pytest.mark.parametrize("kind", ["NETCDF3_CLASSIC", "NETCDF3_64BIT"])
@pytest.mark.parametrize("unlimited", [[], ["time"]])
def test_truncated_files_of_the_old_format(data, tmp_path, kind, unlimited):
    """Their library reads zeros beyond the end: only a look at the length tells."""
    data = data[["latitude", "longitude", "time", "elevation", "t2m"]]
    path = tmp_path / "old.nc"
    data.to_netcdf(path, engine="netcdf4", format=kind, unlimited_dims=unlimited)
    assert torch.equal(from_xarray(path, "t2m").values[..., 0], torch.from_numpy(data["t2m"].values))
    whole = path.read_bytes()
    for share in (0.001, 0.1, 0.6, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match="cannot be read as netCDF: .* damaged or cut short"):
            from_xarray(path, "t2m")


def test_without_the_extra(path, data, monkeypatch):
    def gone(name: str):
        raise ImportError(name)

    monkeypatch.setattr(_check.importlib, "import_module", gone)
    with pytest.raises(MissingExtraError, match=r"pip install 'equilearn\[fields\]'"):
        from_xarray(path, "t2m")
    with pytest.raises(MissingExtraError, match=r"equilearn\[fields\]"):
        write_netcdf(path, {}, torch.ones(1), torch.ones(1), torch.ones(1), "2000-01-01")


# --- times and regions ------------------------------------------------------------------


def test_split_by_days(path):
    whole = from_xarray(path, "t2m")
    train, test = whole.split(2, 1)
    assert train.hours.tolist() == list(range(48)) and test.hours.tolist() == list(range(48, 72))
    assert torch.equal(test.values, whole.values[48:])
    assert len(whole.split(1)[1]) == 48
    with pytest.raises(InputError, match="72 times on 3 days cannot be split into 3 and None days"):
        whole.split(3)
    with pytest.raises(InputError, match="cannot be split into 0 and 1 days"):
        whole.split(0, 1)
    with pytest.raises(InputError, match="The first 2 and the last 2 of 3 days overlap"):
        whole.split(2, 2)


@pytest.mark.parametrize("held", [True, False])
def test_regions_and_times(path, held):
    whole = from_xarray(path, "t2m", static=["elevation"], held=held)
    part = whole.region((56.0, 57.0), (-9.0, -8.5)).at(slice(10, 20))
    assert part.lat.tolist() == [57, 56.75, 56.5, 56.25, 56] and part.lon.tolist() == [-9, -8.75, -8.5]
    assert torch.equal(part.values, whole.values[10:20, 4:9, 4:7])
    assert torch.equal(part.coordinates, whole.coordinates[4:9, 4:7])
    assert torch.equal(part.at([3, 1]).values, whole.values[[13, 11], 4:9, 4:7])
    assert part.at(-1).hours.tolist() == [19]
    assert part.at(part.hours > 15).hours.tolist() == [16, 17, 18, 19]
    with pytest.raises(InputError, match=r"No cell has lat in \[0, 1\]: the grid goes from 55.25 to 58"):
        whole.region(lat=(0.0, 1.0))
    with pytest.raises(InputError, match="No time is left"):
        whole.at(slice(5, 5))
    with pytest.raises(InputError, match="must be among the 72 there are"):
        whole.at([72])
    with pytest.raises(InputTypeError, match="slice or whole numbers"):
        whole.at(0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("held", [True, False])
def test_files_that_follow_each_other(held):
    data = small(6)
    parts = [data.isel(time=slice(0, 1)), data.isel(time=slice(1, 4)), data.isel(time=slice(4, 6))]
    whole, joined = from_xarray(data, "a"), from_xarray(parts, "a", held=held)
    assert joined.reference == whole.reference and torch.equal(joined.hours, whole.hours)
    assert torch.equal(joined.values, whole.values)
    shuffled = [5, 0, 3, 1]
    assert torch.equal(joined.at(shuffled).values, whole.values[shuffled])
    draws = [
        one.region((50, 52), (1, 4)).tasks(20, torch.Generator().manual_seed(0), patch=(2, 2), context=1, steps=3)
        for one in (whole, joined)
    ]
    assert torch.equal(draws[0].target.y, draws[1].target.y) and torch.equal(draws[0].target.x, draws[1].target.x)
    with pytest.raises(InputError, match="do not follow each other in time: 1 times"):
        from_xarray(parts[::-1][:2], "a", held=held)
    with pytest.raises(InputError, match="Units differ: a is in m in the first data and in ft in the other"):
        join([whole, from_xarray(small(6, units="ft"), "a")])
    with pytest.raises(InputError, match="different grids"):
        join([whole.region((50, 51)), whole])
    with pytest.raises(InputError, match="the first data hold a, the other b"):
        join([whole, from_xarray(data.rename(a="b"), "b")])
    with pytest.raises(InputTypeError, match="join takes Gridded data"):
        join([whole, data])


def test_parts_that_are_joined_share_their_static_fields():
    data = small(6)
    data["height"] = (("lat", "lon"), np.arange(15.0).reshape(3, 5))
    data["height"][0, 0] = np.nan
    first, second = data.isel(time=slice(0, 3)), data.isel(time=slice(3, 6))
    parts = [from_xarray(part, "a", static=["height"], reference="2020-02-28") for part in (first, second)]
    assert torch.equal(join(parts).static[0, 1:], parts[0].static[0, 1:])
    other = from_xarray(second, "a", reference="2020-02-28")
    with pytest.raises(InputError, match="Static fields differ: height in the first data and none in the other"):
        join([parts[0], other])
    raised = from_xarray(second.assign(height=second["height"] + 1), "a", static=["height"], reference="2020-02-28")
    with pytest.raises(InputError, match="or their values"):
        join([parts[0], raised])


def test_regions_a_turn_away():
    data = small(2).assign_coords(lon=[350.0, 351.0, 352.0, 353.0, 354.0])
    whole = from_xarray(data, "a")
    assert whole.lon.tolist() == [-10, -9, -8, -7, -6]
    for span in ((351, 353), (-9, -7), (711 - 720, 713 - 720), (-369, -367)):
        part = whole.region(lon=span)
        assert part.lon.tolist() == [-9, -8, -7] and torch.equal(part.values, whole.values[:, :, 1:4])
    assert from_xarray(small(2), "a").region(lon=(358, 362)).lon.tolist() == [0, 1, 2]
    with pytest.raises(InputError, match=r"No cell has lon in \[10, 20\]"):
        whole.region(lon=(10, 20))
    for bad, words in ((5, "two numbers, got 5"), ((1, 2, 3), "two numbers"), (("a", "b"), "two numbers")):
        with pytest.raises(InputTypeError, match=words):
            whole.region(lon=bad)
    with pytest.raises(InputError, match="least <= most"):
        whole.region(lat=(52, 50))


def test_metres_are_not_turned():
    metres = [1000.0, 1100.0, 1200.0]
    axes = {"lat": ("lat", metres, {"units": "m"}), "lon": ("lon", [0.0, 100.0, 200.0, 300.0, 400.0], {"units": "m"})}
    whole = from_xarray(small(2).assign_coords(axes), "a")
    with pytest.raises(InputError, match="No cell has lon"):
        whole.region(lon=(450, 500))


# --- tasks ------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [True, False])
def test_tasks_are_pieces_of_the_field(held, generator):
    """Each point of a task has the value that the field has there."""
    fields = from_xarray(small(), "a", held=held)
    task = fields.tasks(50, generator, patch=(2, 3), context=(0, 4), steps=2, dtype=torch.float64)
    assert task.dims == 3 and task.context.x.dtype == torch.float64
    for part in (task.context, task.target):
        lat, lon, hour = part.x[part.mask].unbind(-1)
        assert torch.equal(part.y[part.mask][:, 0], 100 * (hour - 6) / 6 + 10 * (lat - 50) + lon)
    assert set(task.context.count.tolist()) == {0, 1, 2, 3, 4}
    assert (task.context.count + task.target.count == 12).all()
    for b in range(50):  # all cells of the patch, each once
        cells = torch.cat([part.x[b][part.mask[b]] for part in (task.context, task.target)])
        assert len(cells.unique(dim=0)) == 12
        assert (cells.amax(0) - cells.amin(0)).tolist() == [1, 2, 6]


def test_tasks_reach_every_place_and_time(generator):
    """Each of 3 x 2 x 4 patches with equal chance: the rarest of 24 among 4,000 draws is missed with chance 1e-72."""
    task = from_xarray(small(), "a").tasks(4000, generator, patch=(1, 4), context=0, with_time=True)
    assert len({tuple(x) for x in task.target.x[:, :, [0, 2]].amin(1).tolist()}) == 12
    corners = torch.cat([task.target.x.amin(1)], 1)
    counts = corners.unique(dim=0, return_counts=True)[1]
    assert len(counts) == 24
    assert (counts.double() - 4000 / 24).abs().max() < 5 * (4000 / 24) ** 0.5  # false alarms under 2e-5


def test_tasks_follow_the_generator(path):
    fields = from_xarray(path, "t2m")
    one, same, other = (fields.tasks(3, torch.Generator().manual_seed(s), patch=(6, 6)) for s in (1, 1, 2))
    assert torch.equal(one.target.x, same.target.x) and torch.equal(one.target.y, same.target.y)
    assert one.target.y.shape != other.target.y.shape or not torch.equal(one.target.y, other.target.y)


def test_number_of_targets(path, generator):
    fields = from_xarray(path, "t2m")
    task = fields.tasks(30, generator, patch=(4, 4), context=(2, 5), target=(3, 6))
    assert set(task.context.count.tolist()) == {2, 3, 4, 5} and set(task.target.count.tolist()) == {3, 4, 5, 6}
    assert (fields.tasks(4, generator, patch=(4, 4), context=12, target=9).target.count == 4).all()
    assert fields.tasks(2, generator, patch=None, context=3).target.count.tolist() == [177, 177]


def test_missing_cells_are_neither_seen_nor_asked_for(tmp_path, generator):
    path = write_example_fields(tmp_path / "land.nc", generator, size=(12, 15), land_only=True)
    fields = from_xarray(path, "t2m")
    land = int((~torch.isnan(fields.values[0])).sum())
    assert 0 < land < 180
    task = fields.tasks(300, generator, patch=(3, 3), context=(2, 8))
    assert (task.context.count >= 2).all() and (task.target.count >= 1).all()
    assert (task.context.y[task.context.mask] > 200).all() and (task.target.y[task.target.mask] > 200).all()
    whole = fields.tasks(5, generator, patch=None, context=4)
    assert (whole.context.count + whole.target.count == land).all()
    assert int(fields.points(0).count) == land


def test_fields_without_values(generator):
    empty = small()
    empty["a"][:] = np.nan
    fields = from_xarray(empty, "a")
    with pytest.raises(InputError, match="Patches with 3 observed values or more are too rare: 4 of 4"):
        fields.tasks(4, generator, patch=(2, 2), context=(2, 3))
    with pytest.raises(InputError, match="a has no value at all"):
        fields.normalizer()


def test_bad_tasks(path, generator):
    fields = from_xarray(path, "t2m")
    for options, words in (
        ({"patch": (13, 4)}, "A patch of 13 x 4 cells does not fit into a grid of 12 x 15"),
        ({"patch": (4,)}, "patch must be .rows, columns."),
        ({"patch": (0, 4)}, "patch must be a whole number >= 1"),
        ({"context": (5, 3)}, "context must be .least, most. with least <= most"),
        ({"context": -1}, "context must be a whole number >= 0"),
        ({"target": 0}, "target must be a whole number >= 1, got 0"),
        ({"steps": 40, "stride": 2}, "40 times, 2 apart, were asked for of 72"),
        ({"times": slice(0, 0)}, "1 times, 1 apart, were asked for of 0"),
        ({"patch": (2, 2), "context": 4}, "Patches with 5 observed values or more are too rare"),
    ):
        with pytest.raises(InputError, match=words):
            fields.tasks(2, generator, **{"patch": (4, 4), "context": 3, **options})
    with pytest.raises(InputError, match="batch must be"):
        fields.tasks(0, generator)


# --- normalisation ----------------------------------------------------------------------


def test_normalizer_of_the_training_data(path, generator):
    train, test = from_xarray(path, "t2m").split(2)
    scale = train.normalizer()
    values = train.values.double()
    assert torch.allclose(scale.mean, values.mean().view(1)) and torch.allclose(
        scale.std, values.std().view(1), rtol=1e-3
    )
    task = test.tasks(8, generator, patch=(6, 6), context=(3, 8))
    unit = scale.normalize(task)
    assert torch.equal(unit.target.mask, task.target.mask) and not unit.target.y[~unit.target.mask].any()
    assert unit.target.y[unit.target.mask].abs().max() < 6
    back, spread = scale.denormalize(task.target.x, unit.target.y, torch.ones_like(unit.target.y))
    assert torch.allclose(back[task.target.mask], task.target.y[task.target.mask], atol=1e-3)
    assert torch.allclose(spread, scale.std.float().expand_as(spread))
    same = test.tasks(8, torch.Generator().manual_seed(5), patch=(6, 6), normalizer=scale)
    assert torch.allclose(
        same.target.y, scale.normalize(test.tasks(8, torch.Generator().manual_seed(5), patch=(6, 6))).target.y
    )


def test_normalizer_of_each_cell(path, generator, monkeypatch):
    monkeypatch.setattr("equilearn.data.fields._gridded.CHUNK", 1000)  # in several pieces
    train = from_xarray(path, "t2m")
    scale = train.normalizer(per_cell=True)
    values = train.values.double()
    assert scale.per_cell
    assert torch.allclose(scale.mean, values.mean(0)) and torch.allclose(scale.std, values.std(0, correction=0))
    task = train.tasks(8, generator, patch=(6, 6), context=(3, 8))
    keep = task.target.mask
    x, y = task.target.x[keep], task.target.y[keep]
    cells = ((58 - x[:, 0]) / 0.25).long(), ((x[:, 1] + 10) / 0.25).long()
    wanted = (y - scale.mean.float()[cells]) / scale.std.float()[cells]
    assert torch.allclose(scale.normalize(task).target.y[keep], wanted, atol=1e-3)
    assert torch.equal(scale.scale(x + 0.1), scale.scale(x))  # the nearest cell
    with pytest.raises(InputError, match="lie off the grid of this Normalizer"):
        scale.normalize(task.moved(lambda x: x + 20))


def test_cells_that_never_vary_or_are_never_seen():
    data = small()
    data["a"][:, 0, 0] = 7.0
    data["a"][:, 1, 1] = np.nan
    fields = from_xarray(data, "a")
    scale = fields.normalizer(per_cell=True)
    assert scale.std[0, 0, 0] == 1 and scale.mean[0, 0, 0] == 7
    both = fields.normalizer()
    assert scale.mean[1, 1, 0] == both.mean[0] and scale.std[1, 1, 0] == both.std[0]


@pytest.mark.parametrize("per_cell", [True, False])
def test_normalizer_travels_as_json(path, per_cell):
    scale = from_xarray(path, "t2m").normalizer(per_cell=per_cell)
    same = Normalizer.from_dict(json.loads(json.dumps(scale.as_dict())))
    assert same.names == scale.names and same.units == scale.units and same.per_cell == per_cell
    for name in ("mean", "std", "lat", "lon"):
        one, other = getattr(same, name), getattr(scale, name)
        assert one is other is None or torch.equal(one, other)


def test_bad_normalizers(path, generator):
    scale = from_xarray(path, "t2m").normalizer()
    for change in ({"std": [0.0]}, {"mean": [float("nan")]}, {"mean": [1.0, 2.0]}, {"mean": "x"}, {"units": None}):
        with pytest.raises(InputError):
            Normalizer.from_dict({**scale.as_dict(), **change})
    with pytest.raises(InputError, match="not a Normalizer that was saved"):
        Normalizer.from_dict({})
    celsius = from_xarray(small(units="degC").rename(a="t2m"), "t2m")
    with pytest.raises(InputError, match="Units differ: t2m is in degC in the data and in K in the training data"):
        celsius.tasks(2, generator, patch=(2, 2), context=1, normalizer=scale)
    two = PointSet(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2))
    with pytest.raises(InputError, match="have 2 values a location, this Normalizer 1"):
        scale.normalize(FieldTask(two, two))


# --- writing ----------------------------------------------------------------------------


def test_written_fields_read_back(tmp_path):
    lat, lon, hours = torch.tensor([51.0, 50.0]), torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 1.5])
    mean = torch.rand(2, 2, 3)
    mean[0, 0, 0] = float("nan")
    path = write_netcdf(
        tmp_path / "new" / "out.nc",
        {"mean": mean, "fixed": mean[1]},
        lat,
        lon,
        hours,
        "2020-01-01",
        units={"mean": "K"},
    )
    found = from_xarray(path, "mean", static=["fixed"])
    assert torch.equal(torch.nan_to_num(found.values[..., 0]), torch.nan_to_num(mean)) and found.units == ("K",)
    assert found.hours.tolist() == [0, 1.5] and found.reference == "2020-01-01T00:00:00"
    assert [entry.name for entry in path.parent.iterdir()] == ["out.nc"]
    with pytest.raises(InputError, match=r"mean must be of shape \(2, 2, 3\) or \(2, 3\), got \(3, 2\)"):
        write_netcdf(path, {"mean": torch.zeros(3, 2)}, lat, lon, hours, "2020-01-01")


# --- real data --------------------------------------------------------------------------


@pytest.mark.skipif(not ERA5.is_file(), reason=f"no {ERA5}: temperatures of a reanalysis, not part of the repository")
def test_real_temperatures(generator):
    whole = from_xarray(ERA5, "t2m")
    assert whole.values.shape == (744, 33, 49, 1) and whole.reference == "2019-03-01T00:00:00"
    train, test = whole.split(24, 7)
    assert (len(train), len(test)) == (576, 168) and test.hours[0] == 576
    scale = train.normalizer()
    assert 275 < scale.mean < 285 and 1 < scale.std < 5
    task = test.tasks(64, generator, normalizer=scale)
    assert task.context.count.min() >= 5 and task.context.count.max() <= 100
    assert (task.context.count + task.target.count == 256).all()
    assert 0.3 < task.target.y[task.target.mask].std() < 3
