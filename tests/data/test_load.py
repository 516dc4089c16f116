"""Sources: built-in tasks, archives, tables, IDX images, functions; damaged and hostile ones too."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import equilearn as eq
from equilearn._check import InputError
from equilearn.data import load, load_function, load_inputs
from equilearn.training import relative_error

SHARED = Path(__file__).parents[3] / "shared" / "data"


# --- built in ---------------------------------------------------------------------------------------


def test_digits_are_split_exactly_and_by_class():
    task = load("digits")
    assert task.x_train.shape == (1200, 1, 8, 8)
    assert task.x_test.shape == (597, 1, 8, 8)
    assert (float(task.x_train.min()), float(task.x_train.max())) == (0.0, 1.0)
    shares = task.y_train.bincount() / 1200 - task.y_test.bincount() / 597
    assert shares.abs().max() < 2e-3
    together = torch.cat([task.x_train, task.x_test]).flatten(1)
    assert len(together.unique(dim=0)) == len(together)
    assert not torch.equal(task.x_test, load("digits", seed=1).x_test)
    with pytest.raises(InputError, match="digits is a classification, not a regression"):
        load("digits", kind="regression")
    with pytest.raises(InputError, match="target='a' names a column"):
        load("digits", target="a")


def test_minkowski_products_are_invariant_under_its_symmetry():
    task = eq.data.minkowski(50, 20, vectors=3, seed=2)
    assert task.x_train.shape == (50, 12)
    assert task.y_train.shape == (50, 6)
    group = task.symmetry.group
    g = group.sample(50, generator=torch.Generator().manual_seed(0))
    x = task.x_train.double()
    moved = task.symmetry.act_input(g, x).reshape(50, 3, 4)
    metric = torch.as_tensor(group.metric).double()
    metric = metric if metric.ndim == 2 else torch.diag(metric)
    products = torch.einsum("bik,kl,bjl->bij", moved, metric, moved)
    i, j = torch.triu_indices(3, 3)
    assert relative_error(products[:, i, j], task.y_train) < 1e-5


def test_minkowski_test_inputs_can_be_boosted():
    plain, boosted = eq.data.minkowski(20, 30, seed=1), eq.data.minkowski(20, 30, rapidity=1.0, seed=1)
    assert torch.equal(plain.x_train, boosted.x_train)
    assert torch.equal(plain.y_test, boosted.y_test)
    assert boosted.x_test.norm() > 1.2 * plain.x_test.norm()
    v = boosted.x_test.double().reshape(30, 4, 4)
    products = torch.einsum("bik,k,bjk->bij", v, torch.tensor([1.0, -1, -1, -1]).double(), v)
    i, j = torch.triu_indices(4, 4)
    assert relative_error(products[:, i, j], plain.y_test) < 1e-5
    with pytest.raises(InputError, match="rapidity must not be negative"):
        eq.data.minkowski(rapidity=-1.0)


# --- archives ---------------------------------------------------------------------------------------

X, Y = np.arange(60.0).reshape(20, 3), np.arange(20) % 2


def npz(path: Path, **members: np.ndarray | bytes) -> Path:
    """An archive whose members are arrays, or raw bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in members.items():
            if isinstance(value, bytes):
                archive.writestr(f"{name}.npy", value)
                continue
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, value)
            archive.writestr(f"{name}.npy", buffer.getvalue())
    return path


def test_archives_of_all_layouts(tmp_path: Path):
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", x=np.asfortranarray(X), y=Y, extra=X)
        task = load(tmp_path / "a.npz")
        assert task.x_train.shape == (16, 3)
        assert sorted(torch.cat([task.x_train, task.x_test])[:, 1].tolist()) == X[:, 1].tolist()
    np.savez(tmp_path / "b.npz", x=X, y=Y, x_test=X[:4], y_test=Y[:4])
    assert len(load(str(tmp_path / "b.npz")).x_test) == 4
    np.savez(tmp_path / "c.npz", x=np.zeros((20, 9, 9, 3), np.uint8), y=np.array(["a", "b"] * 10))
    task = load(tmp_path / "c.npz")
    assert task.x_train.shape == (16, 3, 9, 9)
    assert task.class_names == ("a", "b")
    assert load(tmp_path / "a.npz", kind="regression", test_fraction=0.5).y_test.shape == (10, 1)


def test_inputs_alone_need_no_targets(tmp_path: Path):
    np.savez(tmp_path / "x.npz", x=X)
    assert load_inputs(tmp_path / "x.npz").shape == (20, 3)
    np.savez(tmp_path / "both.npz", x=X, x_test=X[:4])
    assert load_inputs(tmp_path / "both.npz").shape == (4, 3)
    np.savez(tmp_path / "sets.npz", x=np.zeros((5, 9, 9)))
    assert load_inputs(tmp_path / "sets.npz", images=False).shape == (5, 9, 9)
    np.savez(tmp_path / "z.npz", z=X)
    with pytest.raises(InputError, match=r"lacks x; it holds z\..*savez\(file, x=\.\.\.\)\."):
        load_inputs(tmp_path / "z.npz")


def test_a_symmetry_decides_on_images_when_data_are_loaded(tmp_path: Path):
    np.savez(tmp_path / "sets.npz", x=np.zeros((20, 10, 8)), y=Y)
    sets = eq.Symmetry(eq.Symmetric(10), eq.actions.sets(10))
    assert load(tmp_path / "sets.npz", symmetry=sets).x_train.shape[1:] == (10, 8)
    assert load(tmp_path / "sets.npz", images=False).x_train.shape[1:] == (10, 8)


class Bomb:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "unpickled")


def test_object_arrays_are_refused_and_never_unpickled(tmp_path: Path):
    bomb = np.empty(20, dtype=object)
    bomb[:] = [Bomb(tmp_path / "harm") for _ in range(20)]
    np.savez(tmp_path / "a.npz", x=X, y=bomb)
    with pytest.raises(InputError, match=r"y is an object array.*could run code.*np\.array\(labels, dtype=str\)"):
        load(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Bomb(tmp_path / "harm")))
    npz(tmp_path / "c.npz", x=X, y=pickle.dumps(Bomb(tmp_path / "harm")))
    for name in ("b.npz", "c.npz"):
        with pytest.raises(InputError, match="not a"):
            load(tmp_path / name)
    assert not (tmp_path / "harm").exists()


def header(shape: tuple, dtype: str = "<f8", version: int = 1) -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape!r}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (header((10**15,)), "promises 8 PB .* but holds 0 bytes: it is damaged"),
        (header((20, 3)) + b"\0" * 100, r"promises 480 bytes \(shape \(20, 3\), float64\) but holds 100 bytes"),
        (header((2,)) + b"\0" * 100, "promises 16 bytes .* but holds 100 bytes"),
        (header((-1, 2)), "impossible shape|promises"),
        (header((2,), version=9), "not a NumPy array|array format"),
        (header((2,), dtype="no type"), "not a NumPy array"),
        (b"\x93NUMPY\x01", "not a NumPy array"),
        (b"", "not a NumPy array"),
        (b"x" * 500, "not a NumPy array"),
    ],
)
def test_members_that_lie_about_themselves(tmp_path: Path, member: bytes, message: str):
    with pytest.raises(InputError, match=message):
        load(npz(tmp_path / "a.npz", x=member, y=Y))


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_does(tmp_path: Path):
    npz(tmp_path / "a.npz", x=np.zeros((20, 50_000)), y=Y)
    assert (tmp_path / "a.npz").stat().st_size < 50_000
    with pytest.raises(InputError, match=r"unpacks to 8 MB, more than the limit of 1 MB.*max_bytes"):
        load(tmp_path / "a.npz", max_bytes=10**6)
    assert load(tmp_path / "a.npz", max_bytes=10**7).x_train.shape == (16, 50_000)


def test_damaged_archives(tmp_path: Path):
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    whole = (tmp_path / "a.npz").read_bytes()
    for share in (0, 0.3, 0.7, 0.98):
        (tmp_path / "b.npz").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match=r"not a complete \.npz file"):
            load(tmp_path / "b.npz")
    np.savez_compressed(tmp_path / "c.npz", x=X, y=Y)
    content = bytearray((tmp_path / "c.npz").read_bytes())
    content[60:120] = b"\xff" * 60
    (tmp_path / "c.npz").write_bytes(content)
    with pytest.raises(InputError, match="damaged|not a complete"):
        load(tmp_path / "c.npz")
    np.save(tmp_path / "plain.npy", X)
    (tmp_path / "plain.npy").rename(tmp_path / "d.npz")
    with pytest.raises(InputError, match="not a complete"):
        load(tmp_path / "d.npz")


def test_archives_that_lack_members(tmp_path: Path):
    np.savez(tmp_path / "a.npz", X=X, labels=Y)
    with pytest.raises(InputError, match="lacks x and y; it holds X, labels"):
        load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=X, y=Y, x_test=X)
    with pytest.raises(InputError, match="lacks y_test"):
        load(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", x=np.zeros(20, dtype=[("a", "f4"), ("b", "f4")]), y=Y)
    with pytest.raises(InputError, match=r"has named fields \('a', 'b'\)"):
        load(tmp_path / "c.npz")
    with pytest.raises(InputError, match="target='y' names a column of a table"):
        load(tmp_path / "c.npz", target="y")


# --- tables -------------------------------------------------------------------------------------------


def table(tmp_path: Path, text: str, name: str = "a.csv", encoding: str = "utf-8") -> Path:
    (tmp_path / name).write_text(text, encoding=encoding)
    return tmp_path / name


LINES = "\n".join(f"{i},{i / 2},{i * i / 7:.6f},{'up' if i % 2 else 'down'}" for i in range(20))


def test_tables(tmp_path: Path):
    numbers = "\n".join(line.rpartition(",")[0] for line in LINES.splitlines())
    path = table(tmp_path, "a,b,energy\n" + numbers)
    task = load(path, target="energy")
    assert (task.kind, task.x_train.shape, task.y_train.shape) == ("regression", (16, 2), (16, 1))
    assert torch.equal(task.x_train[:, 0], 2 * task.x_train[:, 1])
    assert load(path, target="b, energy").y_train.shape == (16, 2)
    text = load(table(tmp_path, "a,b,energy,side\n" + LINES), target="side")
    assert (text.kind, text.class_names) == ("classification", ("down", "up"))
    odd = load(table(tmp_path, ("a;b; energy \n" + numbers.replace(",", " ; ")), encoding="utf-8-sig"), target="energy")
    assert torch.equal(odd.x_train, task.x_train)
    tabs = load(table(tmp_path, ("a\tb\tenergy\n" + numbers.replace(",", "\t") + "\n\n"), "a.tsv"), target="energy")
    assert torch.equal(tabs.x_train, task.x_train)


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("a,b\n1,2\n3,4", None, r"Which column .* Columns: a, b\."),
        ("a,energy\n1,2\n3,4", "enrgy", "Did you mean 'energy'"),
        ("1,2\n3,4\n5,6", "2", "first line of .* holds numbers .* Add a header line"),
        ("a,b\n1,\n,4\n5,na", "b", r"3 missing cells in 2 columns \(a, b\); the first is 'a' in line 3"),
        ("a,b\n1,nan\n3,4", "b", "1 missing cells in 1 columns"),
        ("a,b,c\n1,red,2\n3,blue,4", "c", r"columns that are not numbers: 'b' \('red'\)\. Drop them or encode"),
        (
            "a,b\n1,2\n3\n4,5,6",
            "b",
            r"2 lines whose number of cells is not that of the header, 2 \(the first: line 3 with 1\)",
        ),
        ("a,a\n1,2", "a", "several columns named a"),
        ("a,,c\n1,2,3", "a", "Column 2 .* has no name"),
        ("a,b\n", "b", "a header line but no samples"),
        ("", "b", "is empty"),
        ("b\n1\n2", "b", "no columns besides the target"),
        ("a,b,c\n1,x,y\n2,y,z", "b,c", "target columns b, c are not numbers"),
        ("a,b\n1,inf\n2,3\n4,5", "b", "y holds 0 NaN and 1 infinite"),
        ("a,b\n1,0\n2,0\n4,0", "b", "All 3 labels are '0'"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, target: str | None, message: str):
    with pytest.raises(InputError, match=message):
        load(table(tmp_path, text), target=target)


def test_tables_that_are_no_text(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(b"a,b\n\xff\xfe,2\n")
    with pytest.raises(InputError, match="not UTF-8 text"):
        load(tmp_path / "a.csv", target="b")
    (tmp_path / "b.csv").write_text("a,b\n" + "9" * 200_000 + ",2\n")
    with pytest.raises(InputError, match="not a table as CSV"):
        load(tmp_path / "b.csv", target="b")


# --- IDX ----------------------------------------------------------------------------------------------


def idx(path: Path, array: np.ndarray, magic: bytes | None = None) -> Path:
    codes = {"u1": 0x08, "f4": 0x0D}
    start = magic or bytes([0, 0, codes[array.dtype.str[1:]], array.ndim])
    content = (
        start + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


PIXELS = (np.arange(20 * 9 * 10) % 256).astype(np.uint8).reshape(20, 9, 10)
LABELS = (np.arange(20) % 4).astype(np.uint8)


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_images_find_their_labels(tmp_path: Path, end: str):
    images = idx(tmp_path / f"t10k-images-idx3-ubyte{end}", PIXELS)
    idx(tmp_path / f"t10k-labels-idx1-ubyte{end}", LABELS)
    for source in (images, tmp_path):
        task = load(source)
        assert task.x_train.shape == task.x_test.shape == (10, 1, 9, 10)
        assert (task.kind, task.classes) == ("classification", 4)
        assert torch.cat([task.y_train, task.y_test]).bincount().tolist() == [5, 5, 5, 5]
    idx(tmp_path / "train-images-idx3-ubyte.gz", PIXELS[:8])
    idx(tmp_path / "train-labels-idx1-ubyte", LABELS[:8])
    assert [len(load(source).x_train) for source in (images, tmp_path)] == [8, 8]
    assert load(images, images=False).x_train.shape[1:] == (9, 10)
    assert torch.equal(load(tmp_path).x_test[3, 0], torch.tensor(PIXELS[3] / 255, dtype=torch.float32))


def test_idx_files_that_cannot_be_used(tmp_path: Path):
    images, labels = tmp_path / "a-images-idx3-ubyte", tmp_path / "a-labels-idx1-ubyte"
    idx(images, PIXELS)
    with pytest.raises(InputError, match="has no labels beside it: a-labels-idx1-ubyte"):
        load(images)
    idx(labels, LABELS[:19])
    with pytest.raises(InputError, match="holds 20 images but a-labels-idx1-ubyte 19 labels"):
        load(images)
    idx(labels, PIXELS)
    with pytest.raises(InputError, match=r"labels are \(count,\)"):
        load(images)
    idx(labels, LABELS)
    for magic in (b"PK\x03\x04", b"\0\0\x07\x03", b"\0\0\x08\x00"):
        idx(images, PIXELS, magic)
        with pytest.raises(InputError, match="is not an IDX file: it starts with"):
            load(images)
    whole = idx(images, PIXELS).read_bytes()
    for content, message in (
        (whole[:500], "promises shape .* but holds 484"),
        (whole + b"\0", "but holds more"),
        (whole[:10], "ends within its header"),
        (b"", "starts with nothing"),
        (whole[:4] + b"\xff" * 12, "more than the limit"),
    ):
        images.write_bytes(content)
        with pytest.raises(InputError, match=message):
            load(images)
    with pytest.raises(InputError, match="holds no IDX images"):
        load(Path(__file__).parent)
    with pytest.raises(InputError, match="Did you mean .*a-images-idx3-ubyte"):
        load(tmp_path / "b-images-idx3-ubyte")


def test_gzip_that_is_cut_short_or_none(tmp_path: Path):
    images = idx(tmp_path / "a-images-idx3-ubyte.gz", PIXELS)
    idx(tmp_path / "a-labels-idx1-ubyte", LABELS)
    images.write_bytes(images.read_bytes()[:-30])
    with pytest.raises(InputError, match="not a complete gzip file"):
        load(images)
    images.write_bytes(b"plain")
    with pytest.raises(InputError, match="not a complete gzip file"):
        load(images)


@pytest.mark.skipif(not (SHARED / "t10k-images-idx3-ubyte.gz").exists(), reason="the MNIST digits are not at hand")
def test_the_mnist_digits():
    task = load(SHARED / "t10k-images-idx3-ubyte.gz")
    assert task.x_train.shape == task.x_test.shape == (5000, 1, 28, 28)
    assert torch.cat([task.y_train, task.y_test]).bincount().tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert abs(float(task.x_train.mean()) - 0.1325) < 2e-3
    assert (task.y_train.bincount() - task.y_test.bincount()).abs().max() <= 1


# --- functions ------------------------------------------------------------------------------------------

MODULE = """
import equilearn as eq, torch
def task(): return eq.data.from_arrays(torch.randn(20, 3), torch.arange(20) % 2)
def array(): return torch.zeros(3)
def fails(): raise KeyError("no such column")
def refuses(): raise eq.InputError("Give me more.")
def spoiled(): return eq.Task("s", *[torch.zeros(0, 2)] * 4, kind="regression")
number = 3
class Maker:
    @staticmethod
    def make(): return task()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "given_tasks.py").write_text(MODULE)
    (tmp_path / "broken_tasks.py").write_text("def task(:\n")
    (tmp_path / "needy_tasks.py").write_text("import a_package_nobody_has\n")
    monkeypatch.chdir(tmp_path)
    yield "given_tasks"
    for name in ("given_tasks", "broken_tasks", "needy_tasks"):
        sys.modules.pop(name, None)


def test_functions_of_the_current_folder(module: str):
    before = list(sys.path)
    assert load(f"{module}:task").x_train.shape == (16, 3)
    assert load(f"{module}:Maker.make").classes == 2
    assert sys.path == before
    assert load_function(f"{module}:array")().shape == (3,)
    with pytest.raises(InputError, match=r"^given_tasks:fails raised KeyError: 'no such column'$"):
        load_function(f"{module}:fails")()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no_such_module:task", "there is no module 'no_such_module' where Python looks or in"),
        ("given_tasks.sub:task", "is not installed|there is no module"),
        ("given_tasks:taks", "given_tasks has no 'taks'. Did you mean task"),
        ("given_tasks:number", "is a int, which cannot be called"),
        ("given_tasks:array", "returned a Tensor; an equilearn.Task is needed"),
        ("given_tasks:fails", "raised KeyError: 'no such column'"),
        ("given_tasks:refuses", "^Give me more.$"),
        ("given_tasks:spoiled", "is empty"),
        ("broken_tasks:task", "importing broken_tasks raised SyntaxError"),
        ("needy_tasks:task", "importing needy_tasks needs 'a_package_nobody_has', which is not installed"),
    ],
)
def test_functions_that_cannot_be_used(module: str, source: str, message: str):
    with pytest.raises(InputError, match=message):
        load(source)


def test_names_that_are_no_source(tmp_path: Path):
    for source, message in (
        ("digit", "There is no 'digit'. Did you mean digits"),
        (str(tmp_path / "a.npz"), "No file .*a.npz'"),
        (str(tmp_path / "no" / "a.csv"), "the folder .* does not exist"),
        ("", "is a folder|no IDX|There is no"),
    ):
        with pytest.raises(InputError, match=message):
            load(source)
    (tmp_path / "a.parquet").touch()
    with pytest.raises(InputError, match="not of a kind that is read here"):
        load(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="does not name a function"):
        load_function("not a function")
