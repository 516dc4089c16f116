"""Observations of stations from CSV files: what is read, tasks, splits, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from equilearn._check import InputError
from equilearn.data.fields import from_stations

HEADER = "id,lat,lon,elevation,time,t2m"


def write(path: Path, *lines: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Ten stations for three days, every six hours, out of order; station k is silent at k of the times."""
    lines = []
    for hour in range(0, 72, 6):
        for k in range(10):
            value = "" if hour // 6 < k else f"{100 * k + hour}"
            lines.append(f"s{k},{50 + k},{k / 2},{10 * k},2020-02-28T{hour % 24:02d}:00+00:00,{value}")
            lines[-1] = lines[-1].replace("2020-02-28", f"2020-02-{28 + hour // 24}" if hour < 48 else "2020-03-01")
    return write(tmp_path / "stations.csv", *lines[::-1])


def test_what_is_read(file):
    found = from_stations(file, "t2m", static=["elevation"], units="K")
    assert (len(found), len(found.ids), len(found.x)) == (12, 10, 120)
    assert found.hours.tolist() == list(range(0, 72, 6)) and found.reference == "2020-02-28T00:00:00"
    assert (found.names, found.units, found.static_names) == (("t2m",), ("K",), ("elevation",))
    points = found.points()
    assert points.x.shape == (12, 10, 3) and points.count.tolist() == [min(t + 1, 10) for t in range(12)]
    assert "10 stations, 12 times, 120 observations" in repr(found)


@pytest.mark.parametrize("with_time", [False, True])
def test_tasks_say_what_stations_said(file, with_time, generator):
    stations = from_stations(file, "t2m", static=["elevation"])
    task = stations.tasks(60, generator, context=(2, 5), with_time=with_time, dtype=torch.float64)
    assert task.dims == 3 + with_time
    hours = []
    for b in range(60):
        said = []
        for part in (task.context, task.target):
            x, y = part.x[b][part.mask[b]], part.y[b][part.mask[b], 0]
            k = x[:, 0] - 50
            assert torch.equal(x[:, 1], k / 2) and torch.equal(x[:, -1], 10 * k)
            said.append(torch.stack([k, y - 100 * k], 1))
            if with_time:
                assert torch.equal(x[:, 2], y - 100 * k)
        both = torch.cat(said)
        hour = both[:, 1].unique()
        assert len(hour) == 1  # all at one time
        assert sorted(both[:, 0].tolist()) == list(range(min(int(hour) // 6 + 1, 10)))  # all that spoke, each once
        hours.append(int(hour))
    assert set(hours) == set(range(12, 72, 6))  # never before three stations spoke
    assert task.context.count.min() == 2 and task.context.count.max() == 5 and task.target.count.min() >= 1


def test_tasks_follow_the_generator_and_times(file):
    stations = from_stations(file, "t2m")
    one, same = (stations.tasks(5, torch.Generator().manual_seed(1), context=1) for _ in range(2))
    assert torch.equal(one.target.y, same.target.y)
    late = stations.tasks(20, torch.Generator().manual_seed(1), times=slice(11, 12), context=3, target=2)
    assert (late.context.count == 3).all() and (late.target.count == 2).all()
    assert set((late.target.y % 100).flatten().tolist()) == {66.0}


def test_splits(file, generator):
    stations = from_stations(file, "t2m")
    train, test = stations.split(2, 1)
    assert train.hours.tolist() == list(range(0, 48, 6)) and test.hours.tolist() == list(range(48, 72, 6))
    assert len(train.x) == 80 and len(test.x) == 40
    assert torch.equal(test.points().y, stations.points(slice(8, 12)).y)
    with pytest.raises(InputError, match="12 times on 3 days cannot be split into 3 and None days"):
        stations.split(3)
    seen, held = stations.split_stations(3, generator)
    assert len(seen.ids) == 7 and len(held.ids) == 3 and not set(seen.ids) & set(held.ids)
    assert held.points(-1).x.shape[1] == 3
    wanted = {float(name[1:]) + 50 for name in held.ids}
    assert set(held.x[:, 0].tolist()) == wanted and held.station.max() == 2
    with pytest.raises(InputError, match="10 of 10 stations cannot be held out"):
        stations.split_stations(10, generator)


def test_normalizer(file, generator):
    stations = from_stations(file, "t2m", units="K")
    scale = stations.normalizer()
    values = stations.y[~torch.isnan(stations.y)]
    assert scale.mean.item() == pytest.approx(values.mean().item())
    assert scale.std.item() == pytest.approx(values.std(correction=0).item())
    task = stations.tasks(5, generator, context=2, normalizer=scale)
    assert task.target.y.abs().max() < 4
    with pytest.raises(InputError, match="Units differ: t2m is in degC in the data and in K in the training data"):
        from_stations(file, "t2m", units="degC").tasks(5, generator, normalizer=scale)


def test_lines_that_say_the_same_count_once(tmp_path):
    lines = ["a,50,0,5,2020-01-02,280", "b,51,0,5,2020-01-01,", "a,50,0,5,2020-01-02,280", "b,51,0,5,2020-01-01,NA"]
    assert len(from_stations(write(tmp_path / "s.csv", *lines), "t2m").x) == 2
    file = write(tmp_path / "s.csv", *lines, "b,51,0,5,2020-01-01,3")
    with pytest.raises(InputError, match="1 times two different things of one station .* lines 5 and 6, station 'b'"):
        from_stations(file, "t2m")


def test_names_of_columns(tmp_path):
    file = write(tmp_path / "s.tsv", "1\t2\t2020-01-01 12:30\t3", header="X\tY\tDate\tvalue")
    found = from_stations(file, "value")
    assert found.x.tolist() == [[2, 1]] and found.hours.tolist() == [12.5] and found.ids == ("2,1",)
    file = write(tmp_path / "s.csv", "1;2;2020-01-01;3;p", header="east;north;when;value;where")
    with pytest.raises(InputError, match=r"Which columns of .* are lat, lon, time\? It has east, north, when"):
        from_stations(file, "value")
    names = {"lat": "north", "lon": "east", "time": "when", "station": "where"}
    assert from_stations(file, "value", coords=names).ids == ("p",)
    with pytest.raises(InputError, match="Did you mean 'east'"):
        from_stations(file, "value", coords={**names, "lon": "eats"})
    with pytest.raises(InputError, match="Unknown role of a column 'longitude'"):
        from_stations(file, "value", coords={"longitude": "east"})
    with pytest.raises(InputError, match=r"Unknown column of s.csv 'valeu'. Did you mean 'value'"):
        from_stations(file, "valeu", coords=names)
    with pytest.raises(InputError, match="once each"):
        from_stations(file, [], coords=names)
    with pytest.raises(InputError, match="units must be one for each of 1 variables"):
        from_stations(file, "value", coords=names, units=["K", "m"])


def test_several_variables_and_zones(tmp_path):
    header = "lat,lon,time,a,b"
    file = write(tmp_path / "s.csv", "1,2,2020-01-01T01:00+02:00,3,4", "1,2,2020-01-01T00:00Z,5,", header=header)
    found = from_stations(file, ["a", "b"], units=["K", "m"])
    assert found.reference == "2019-12-31T00:00:00" and found.hours.tolist() == [23, 24]
    assert found.points().count.tolist() == [1, 0]  # a point with a missing value counts as not observed


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([350, 359, 1], [-10, -1, 1]),
        ([-10, -1, 1], [-10, -1, 1]),
        ([179, -179, 178], [179, 181, 178]),
        ([179, -179], [-181, -179]),  # of one form on either side of the date line: middle in [-180, 180)
        ([179, -178.9], [-181, -178.9]),
        ([179, 181], [-181, -179]),
        ([540, 541], [-180, -179]),
        ([-10, 170], [-10, 170]),
    ],
)
def test_longitudes_without_a_jump(tmp_path, given, wanted):
    lines = [f"{i},50,{value},0,2020-01-01,1" for i, value in enumerate(given)]
    assert from_stations(write(tmp_path / "s.csv", *lines), "t2m").x[:, 1].tolist() == pytest.approx(wanted)


def test_times_as_numbers(tmp_path):
    file = write(tmp_path / "s.csv", "a,50,0,5,6.5,280", "a,50,0,5,0,281")
    with pytest.raises(
        InputError, match=r"line 2: time must be a date .*got '6.5'. A number has no calendar: say since"
    ):
        from_stations(file, "t2m")
    found = from_stations(file, "t2m", since="2020-01-01")
    assert found.hours.tolist() == [0, 6.5] and found.reference == "2020-01-01T00:00:00"
    with pytest.raises(InputError, match="since must be a date"):
        from_stations(file, "t2m", since="once")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a,,0,5,2020-01-01,1", "line 3: lat is missing"),
        ("a,50,inf,5,2020-01-01,1", "line 3: lon is infinite"),
        ("a,50,east,5,2020-01-01,1", "line 3: lon is 'east', not a number"),
        ("a,50,0,NA,2020-01-01,1", "line 3: elevation is missing"),
        ("a,50,0,5,2020-01-01,warm", "line 3: t2m is 'warm', not a number"),
        ("a,50,0,5,2020-01-01,inf", "line 3: t2m is infinite"),
        ("a,50,0,5,,1", "line 3: time is missing"),
        ("a,50,0,5,01.02.2020,1", "line 3: time must be a date such as 2019-03-01"),
        (",50,0,5,2020-01-01,1", "names no station in 1 lines .the first: 3"),
        ("a,50,0,5,2020-01-01", "number of cells is not that of the header"),
    ],
)
def test_bad_lines(tmp_path, line, words):
    file = write(tmp_path / "s.csv", "b,50,0,5,2020-01-01,1", line)
    with pytest.raises(InputError, match=words):
        from_stations(file, "t2m", static="elevation")


def test_bad_files_and_tasks(tmp_path, file, generator):
    with pytest.raises(InputError, match="Did you mean .*stations.csv"):
        from_stations(tmp_path / "station.csv", "t2m")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(InputError, match="is empty"):
        from_stations(tmp_path / "empty.csv", "t2m")
    stations = from_stations(file, "t2m")
    with pytest.raises(InputError, match="At none of 12 times did 11 stations observe something, 10 at most"):
        stations.tasks(2, generator, context=10)
    with pytest.raises(InputError, match="At none of 0 times"):
        stations.tasks(2, generator, times=slice(0, 0))
    with pytest.raises(InputError, match="No time is left"):
        stations.at(slice(3, 3))
    with pytest.raises(InputError, match="least <= most"):
        stations.tasks(2, generator, context=(3, 2))
    silent = from_stations(write(tmp_path / "s.csv", "a,50,0,5,2020-01-01,"), "t2m")
    with pytest.raises(InputError, match="t2m has no value at all"):
        silent.normalizer()
    with pytest.raises(InputError, match="0 at most"):
        silent.tasks(2, generator, context=0)
