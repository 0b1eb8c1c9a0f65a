"""A program, in C or in C++, has several networks, each with its prefix."""

import shutil
import subprocess
from pathlib import Path

import pytest

from derive.packages import render
from derive.problems import Network

NETWORKS = {"mine": Network((2, 3, 1)), "other": Network((3, 4, 2), "gelu", penalty="0.05*w**2")}
PROGRAM = """
#define NETWORK_PREFIX mine_
#include "mine/network.h"
#undef NETWORK_PREFIX
#define NETWORK_PREFIX other_
#include "other/network.h"
#undef NETWORK_PREFIX

static mine_workspace my_work;
static real my_parameters[mine_ENTRIES], my_gradient[mine_ENTRIES], my_loss;
static other_workspace work;
static real parameters[other_ENTRIES], gradient[other_ENTRIES], product[other_ENTRIES], loss;

int main(void)
{
    const real x[other_INPUTS] = {1, 2, 3}, y[other_OUTPUTS] = {3, 1};
    static real direction[other_ENTRIES];
    other_arguments given = {parameters, direction, x, y, 1, &loss, gradient, product, &work};
    mine_gradient(my_parameters, x, y, mine_OUTPUTS, &my_loss, my_gradient, &my_work);
    other_gradient_by(&given);
    other_hvp_by(&given);
    if (my_loss != 9 || my_gradient[mine_ENTRIES - 1] != -6) return 1;
    if (loss != 10 || gradient[other_ENTRIES - 1] != -2) return 2;
    return mine_workspace_size == sizeof my_work && other_workspace_size == sizeof work ? 0 : 3;
}
"""
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    for name, network in NETWORKS.items():
        (folder / name).mkdir()
        for file, text in render(network, ["network.c", "network.h"]).items():
            (folder / name / file).write_text(text)
    (folder / "main.c").write_text(PROGRAM)
    (folder / "main.cc").write_text(PROGRAM)
    return folder


@pytest.mark.parametrize("precision", [(), ("-DNETWORK_DOUBLE",)], ids=["float", "double"])
@pytest.mark.parametrize(("compiler", "program"), [("gcc -std=c99", "main.c"), ("clang", "main.c"), ("g++", "main.cc")])
def test_a_program_has_two_networks(compiler, program, precision, packages, tmp_path):
    command = compiler.split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    for name in NETWORKS:
        of_one = ["cc", "-std=c99", *STRICT, *precision, f"-DNETWORK_PREFIX={name}_", "-c", f"{name}/network.c"]
        subprocess.run([*of_one, "-o", tmp_path / f"{name}.o"], cwd=packages, check=True, timeout=120)
    objects = [tmp_path / f"{name}.o" for name in NETWORKS]
    options = [*STRICT, *precision, program, *objects, "-o", tmp_path / "main"]
    subprocess.run([*command, *options], cwd=packages, check=True, timeout=120)
    subprocess.run([tmp_path / "main"], check=True, timeout=10)


def test_networks_of_two_precisions_in_one_source_are_refused(packages, tmp_path):
    mixed = PROGRAM.replace("#define NETWORK_PREFIX other_", "#define NETWORK_DOUBLE\n#define NETWORK_PREFIX other_")
    (tmp_path / "main.c").write_text(mixed)
    command = ["cc", "-I", packages, "-c", tmp_path / "main.c", "-o", tmp_path / "main.o"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode and "real" in done.stderr


CALL = """
#include "network.h"
int main(void)
{
    static workspace work;
    static real parameters[ENTRIES], slopes[ENTRIES], x[INPUTS], y[OUTPUTS], loss;
    static arguments given = {parameters, parameters, x, y, 1, &loss, slopes, slopes, &work};
    CALLED;
    return 0;
}
"""
CALLS = [
    "gradient(parameters, x, y, 1, &loss, slopes, &work)",
    "hvp(parameters, parameters, x, y, 1, slopes, &work)",
    "per_sample(parameters, x, y, 1, slopes, &work)",
    "gradient_by(&given)",
    "hvp_by(&given)",
    "gradient_of_rows(parameters, x, y, 1, 1, work.totals, &work)",
    "hvp_of_rows(parameters, parameters, x, y, 1, 1, work.totals, &work)",
    "per_sample_of_rows(parameters, x, y, 1, 1, slopes, &work)",
    "penalty(parameters, work.totals)",
    "penalty_hvp(parameters, parameters, work.totals)",
]


@pytest.fixture(scope="module")
def likes(tmp_path_factory) -> dict[tuple[str, str], Path]:
    """Headers of networks of the same sizes, and the object of each, in float and in double."""
    folder, found = tmp_path_factory.mktemp("likes"), {}
    for name in ("relu", "elu"):
        (folder / name).mkdir()
        for file, text in render(Network((2, 1), name, name, penalty="w**2"), ["network.c", "network.h"]).items():
            (folder / name / file).write_text(text)
        for kind in ("FLOAT", "DOUBLE"):
            found[name, kind] = folder / name / f"{kind}.o"
            command = ["cc", f"-DNETWORK_{kind}", "-c", folder / name / "network.c", "-o", found[name, kind]]
            subprocess.run(command, check=True, timeout=120)
    return found


@pytest.mark.parametrize("call", CALLS)
def test_no_call_is_linked_with_numbers_of_another_kind_nor_with_another_network(call, likes, tmp_path):
    (tmp_path / "main.c").write_text(CALL)
    for header, of_header in likes.items():
        options = [f"-DCALLED={call}", f"-DNETWORK_{header[1]}", "-I", of_header.parent]
        subprocess.run(["cc", *options, "-c", "main.c"], cwd=tmp_path, check=True, timeout=60)
        for name, of_name in likes.items():
            linked = ["cc", tmp_path / "main.o", of_name, "-o", tmp_path / "main"]
            done = subprocess.run(linked, capture_output=True, text=True, timeout=60)
            assert (done.returncode == 0) == (name == header), (header, name)
            assert done.returncode == 0 or f"undefined reference to `{call.partition('(')[0]}_" in done.stderr


def test_a_source_with_the_header_of_another_network_is_refused(likes, tmp_path):
    here, there = (likes[name, "FLOAT"].parent for name in ("relu", "elu"))
    shutil.copy(here / "network.h", tmp_path)
    shutil.copy(there / "network.c", tmp_path)
    (tmp_path / "main.c").write_text(f'#include "{here}/network.h"\n#include "{there}/network.h"\n')
    for source in ("network.c", "main.c"):
        done = subprocess.run(["cc", "-c", source], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode and "network.h" in done.stderr and "of another network" in done.stderr


def test_two_devices_in_one_source_are_refused(tmp_path):
    for name in ("relu", "elu"):
        (tmp_path / f"{name}.h").write_text(render(Network((2, 1), name, name), ["device.h"])["device.h"])
    (tmp_path / "main.c").write_text('#include "relu.h"\n#include "elu.h"\n')
    done = subprocess.run(["cc", "-c", "main.c"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode and "device.h of another network is included" in done.stderr


def test_a_program_of_one_network_in_c_plus_plus_needs_no_prefix(packages, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    (tmp_path / "main.cc").write_text('#include "network.h"\nint main() { return part_size > BLOCK ? 0 : INPUTS; }\n')
    mine = packages / "mine"
    subprocess.run(["cc", "-c", mine / "network.c", "-o", tmp_path / "mine.o"], check=True, timeout=120)
    command = ["g++", *STRICT, "-I", mine, tmp_path / "main.cc", tmp_path / "mine.o", "-o", tmp_path / "main"]
    subprocess.run(command, check=True, timeout=120)
    subprocess.run([tmp_path / "main"], check=True, timeout=10)
