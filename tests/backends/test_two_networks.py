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


def test_a_program_of_one_network_in_c_plus_plus_needs_no_prefix(packages, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    (tmp_path / "main.cc").write_text('#include "network.h"\nint main() { return part_size > BLOCK ? 0 : INPUTS; }\n')
    mine = packages / "mine"
    subprocess.run(["cc", "-c", mine / "network.c", "-o", tmp_path / "mine.o"], check=True, timeout=120)
    command = ["g++", *STRICT, "-I", mine, tmp_path / "main.cc", tmp_path / "mine.o", "-o", tmp_path / "main"]
    subprocess.run(command, check=True, timeout=120)
    subprocess.run([tmp_path / "main"], check=True, timeout=10)
