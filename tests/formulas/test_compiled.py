"""Formulas as functions of arrays, which worked numbers and diagnoses are computed by."""

import mpmath
import numpy
import pytest
from sympy import Lambda, Max, N, Piecewise, Rational, atan2, besseli, diff, digamma, erfinv, loggamma, polygamma

from derive.formulas import FUNCTIONS, compiled, opened, over_entries, z

ENTRIES = numpy.array([[-0.9, -0.5, -0.1, 0.25, 0.7, 0.9], [1.2, 2.5, 7.0, -3.0, -20.0, 20.0]])
OTHERS = [Max(z, 2, 0), atan2(z, 2), Piecewise((0, z <= 0), (z, (z > 1) & (z < 3)), (1, True))]


@pytest.mark.parametrize("formula", [*FUNCTIONS.values(), *OTHERS], ids=str)
def test_a_formula_of_arrays_is_that_of_numbers(formula):
    for each in (formula, diff(formula, z)):
        one = compiled(Lambda((z,), each))
        values = numpy.broadcast_to(over_entries(Lambda((z,), each))(ENTRIES), ENTRIES.shape)
        right = numpy.array([one(float(n)) for n in ENTRIES.flat]).reshape(ENTRIES.shape)
        assert (abs(values - right) <= 2e-15 * numpy.maximum(abs(right), 1)).all()


@pytest.mark.parametrize("formula", [loggamma(z), digamma(z), besseli(0, z), erfinv(z / 10), polygamma(1, z)], ids=str)
def test_what_numpy_has_no_function_for_is_computed_number_by_number(formula):
    positive = abs(ENTRIES)[:, :3]
    values = over_entries(Lambda((z,), formula))(positive)
    for value, n in zip(values.flat, positive.flat, strict=True):
        right = mpmath.mpf(str(N(formula.xreplace({z: Rational(float(n))}), 30)))
        assert abs(value - right) <= 1e-14 * abs(right)


@pytest.mark.parametrize("name", ["elu", "selu", "celu", "relu", "silu", "gelu", "gelu_tanh", "mish", "softsign"])
def test_a_function_near_0_keeps_its_digits(name):
    near = numpy.array([-1e-3, -1e-8, -1e-12, 1e-12])
    formula = Lambda((z,), FUNCTIONS[name])
    for one in (over_entries(formula), numpy.vectorize(compiled(formula), otypes=[float])):
        for value, n in zip(one(near), near, strict=True):
            right = N(opened(FUNCTIONS[name]).xreplace({z: Rational(float(n))}), 30)
            assert abs(value - right) <= 1e-15 * abs(right)
