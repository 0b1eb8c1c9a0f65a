"""The .dat format: the notebook's, read back to the same bits, and nothing else accepted."""

import os

import numpy
import pytest

from generated import dat
from tests.helpers.texts import BAD, NOTEBOOK


def test_the_notebooks_format_is_read(tmp_path):
    path = tmp_path / "notebook.dat"
    path.write_text(NOTEBOOK)
    read = dat.read(path)
    assert list(read) == ["dLdw2", "dLdw1", "dLdb2", "dLdb1"]
    assert read["dLdw1"].tolist() == [[0.0026, 0.0046], [0.0015, -0.0079]]
    assert read["dLdb2"].tolist() == [-1.8976]


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_anything_else_is_refused_with_file_line_and_reason(text, tmp_path):
    path = tmp_path / "bad.dat"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"bad.dat.*{BAD[text]}"):
        dat.read(path)


def test_a_number_that_the_type_cannot_hold_is_refused(tmp_path):
    path = tmp_path / "a.dat"
    path.write_text("dLdw1\n[3.4e38, 1e-45, 0e9, -.0, inf]\ndLdb1\n[1.]")
    assert dat.read(path, numpy.float32)["dLdw1"].shape == (5,)
    for number in ("4e38", "-4E+38", "1e-46"):
        path.write_text(f"dLdw1\n[{number}]")
        with pytest.raises(ValueError, match=r"a\.dat:1: dLdw1: .* is out of the range of float32"):
            dat.read(path, numpy.float32)
        assert dat.read(path)["dLdw1"] == float(number)


def test_binary_is_refused(tmp_path):
    path = tmp_path / "bad.dat"
    path.write_bytes(b"dLdw1\n[1.]\n\xff\x00")
    with pytest.raises(ValueError, match=r"bad.dat:3: not plain text: byte 0xff"):
        dat.read(path)


def test_what_is_no_file_or_too_large_is_refused_unread(tmp_path):
    os.mkfifo(tmp_path / "pipe.dat")
    (tmp_path / "huge.dat").touch()
    os.truncate(tmp_path / "huge.dat", dat.LARGEST + 1)
    for name, message in {"pipe": "not a file", "huge": f"{dat.LARGEST + 1} bytes, expected at most"}.items():
        with pytest.raises(ValueError, match=rf"{name}\.dat: {message}"):
            dat.read(tmp_path / f"{name}.dat")


@pytest.mark.parametrize("dtype", [numpy.float32, numpy.float64])
def test_what_is_written_reads_back_to_the_same_bits(dtype, tmp_path):
    """Any bits are a number: subnormal, infinite, or one of many that are not a number."""
    draw, whole = numpy.random.default_rng(0), f"u{numpy.dtype(dtype).itemsize}"
    limits = numpy.finfo(dtype)
    odd = [0.0, -0.0, 1.0, numpy.inf, -numpy.inf, numpy.nan, limits.max, limits.tiny, limits.smallest_subnormal]
    for _ in range(100):
        weights, biases = (
            draw.integers(numpy.iinfo(whole).max, size=size, dtype=whole, endpoint=True).view(dtype)
            for size in (draw.integers(1, 5, 2), draw.integers(1, 5))
        )
        weights.flat[draw.integers(weights.size)] = draw.choice(odd)
        dat.write(tmp_path / "my_autograd.dat", dat.format_dat({"W1": weights, "b1": biases}))
        read = dat.read(tmp_path / "my_autograd.dat", dtype)
        for name, array in {"dLdw1": weights, "dLdb1": biases}.items():
            assert read[name].shape == array.shape
            assert (numpy.isnan(read[name]) == numpy.isnan(array)).all()
            assert ((read[name].view(whole) == array.view(whole)) | numpy.isnan(array)).all()


def test_nothing_is_shortened_whatever_numpys_print_options_are(tmp_path):
    weights = numpy.random.default_rng(0).random((60, 70))
    odd = numpy.array([numpy.inf, -numpy.inf, numpy.nan])
    arrays = {"W1": weights, "b1": weights[0], "W2": weights, "b2": odd}
    plain = dat.format_dat(arrays)
    options = {"threshold": 5, "precision": 2, "suppress": True, "edgeitems": 1, "linewidth": 30, "sign": "+"}
    with numpy.printoptions(**options, infstr="oo", nanstr="-", formatter={"float": lambda _: "0"}):
        assert dat.format_dat(arrays) == plain
    with numpy.printoptions(legacy="1.13"):
        assert dat.format_dat(arrays) == plain
    assert "..." not in plain
    dat.write(tmp_path / "a.dat", plain)
    assert (dat.read(tmp_path / "a.dat")["dLdw1"] == weights).all()


def test_a_row_is_broken_where_numpy_breaks_it():
    """Numbers of 18 letters and a comma; rows of one to eleven letters more, so that one of them ends at the limit."""
    for length in range(1, 12):
        row = numpy.array([1 / 3, 2 / 3, 1 / 7, float(f"1e{length - 1}")])
        expected = numpy.array2string(row, separator=",", floatmode="unique", precision=None)
        assert dat.format_dat({"W1": row[None], "b1": row}).endswith(f"\ndLdb1\n{expected}")


def test_rounded_is_the_notebooks_own_print():
    weights = numpy.random.default_rng(0).random((3, 4)).astype(numpy.float32)
    expected = "".join(
        f"\n{name}\n{numpy.array2string(array, precision=7, separator=',')}"
        for name, array in {"dLdw1": weights, "dLdb1": weights[0]}.items()
    )
    assert dat.format_dat({"W1": weights, "b1": weights[0]}, rounded=True) == expected


def test_deeper_networks_continue_the_order_of_the_headers():
    names = [f"{kind}{layer}" for layer in range(1, 12) for kind in "Wb" if (kind, layer) != ("b", 11)]
    expected = [*(f"dLdw{layer}" for layer in range(11, 0, -1)), *(f"dLdb{layer}" for layer in range(10, 0, -1))]
    assert list(dat.headers(names).values()) == expected


def test_a_file_is_put_into_a_folder_that_is_there_and_replaces_only_a_file(tmp_path):
    (tmp_path / "file").touch()
    for path, error in {"missing/a": FileNotFoundError, "file/a": NotADirectoryError, ".": IsADirectoryError}.items():
        with pytest.raises(error) as refused:
            dat.write(tmp_path / path, "text")
        assert refused.value.filename == str((tmp_path / path).parent if "/" in path else tmp_path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "my_autograd.dat"
    dat.write(path, "old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dat.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        dat.write(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
