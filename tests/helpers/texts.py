"""Texts to read: formulas and files of gradients, right ones and those that are refused, with the reason."""

import torch

OWN = {
    "sqrt(1 + tanh(z)**2)/(1 + 16*z**2)": lambda x: (1 + x.tanh() ** 2).sqrt() / (1 + 16 * x**2),
    "z*sigmoid(z)": lambda x: x * torch.sigmoid(x),
    "exp(-z**2)": lambda x: torch.exp(-(x**2)),
    "1/(1+exp(-z))": torch.sigmoid,
    "log(1+exp(z))": lambda x: torch.nn.functional.softplus(x, threshold=1e9),
    "max(z, 0)**2": lambda x: torch.relu(x) ** 2,
    "where(z > 0, z, 0.1*z)": lambda x: torch.where(x > 0, x, 0.1 * x),
    "z/sqrt(1 + z**2)": lambda x: x / torch.sqrt(1 + x**2),
    "(exp(z) - exp(-z))/(exp(z) + exp(-z))": torch.tanh,
    "0.5*z*(1 + tanh(0.7978845608*(z + 0.044715*z**3)))": lambda x: (
        0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3)))
    ),
    "abs(z)": torch.abs,
    "cosh(z) - expm1(-z)": lambda x: torch.cosh(x) - torch.expm1(-x),
    "tan(z/4)*clip(z, -1, 2)": lambda x: torch.tan(x / 4) * torch.clip(x, -1, 2),
    "sign(z)*log1p(abs(z))": lambda x: torch.sign(x) * torch.log1p(abs(x)),
    "sinh(z)/(1 + square(z)) + erfc(z)": lambda x: torch.sinh(x) / (1 + x**2) + torch.erfc(x),
    "log(1 + cos(exp(-abs(z)))**2)": lambda x: torch.log(1 + torch.cos(torch.exp(-x.abs())) ** 2),
    "sin(z) + cos(2*z)": lambda x: torch.sin(x) + torch.cos(2 * x),
    "erf(z) - z/3": lambda x: torch.erf(x) - x / 3,
    "gelu(0.5)/(1 + z**2)": lambda x: torch.nn.functional.gelu(torch.tensor(0.5, dtype=x.dtype)) / (1 + x**2),
    "where(1 > 0, z**3, 2)": lambda x: x**3,
    "where(z < -1, -1, where(z < 0, z, where(z < 1, 2*z, z + 1)))": lambda x: torch.where(
        x < -1, -1.0, torch.where(x < 0, x, torch.where(x < 1, 2 * x, x + 1))
    ),
}

REFUSED = {
    "1/relu(z)": "has no value or no slope on a whole interval",
    "log(relu(z))": "has no value or no slope on a whole interval",
    "max(sigmoid(-2), 1/relu(z))": "must be real",
    "__import__('os').system('touch canary')": "not allowed here",
    "().__class__.__bases__[0].__subclasses__()": "not allowed here",
    "open('canary', 'w')": "not allowed here",
    "lambda: z": "not allowed here",
    "[z for z in (1,)]": "not allowed here",
    "z if z else 1": "not allowed here",
    "z.__class__": "not allowed here",
    "(z := 3)": "not allowed here",
    "f'{z}'": "not allowed here",
    "sigmod(z)": "did you mean sigmoid?",
    "q * z": "not allowed here: q",
    "True * z": "not allowed here: True",
    "1j * z": "not allowed here: 1j",
    "z[0]": "not allowed here",
    "z and z": "not allowed here",
    "z ** z": "an exponent is a number",
    "z ** 65": "an exponent is a number",
    "9**9**9 * z": "power of a number",
    "9**64 * z": "power of a number",
    "1e999 * z": "a number of at most",
    "10**99 * z": "exponent",
    "1/0 * z": "divides by zero",
    "z / (z - z)": "divides by zero",
    "sqrt(-1) * z": "must be real",
    "3": "has no z",
    "z - z": "has no z",
    "max(z)": "max takes 2 arguments, got 1",
    "sigmoid(z, z)": "sigmoid takes 1 argument, got 2",
    "softmax(z)": "not allowed here",
    "sin(x=z)": "not allowed here: sin(x=z); allowed: numbers, z,",
    "z" * 400: "at most 300 plain characters",
    "-" * 60 + "z": "nested more than",
    "z +": "is no formula",
    "": "is no formula",
    "z\n+1": "plain characters",
    "zé": "plain characters",
    "z\x00": "plain characters",
    "z; z": "is no formula",
    "*z": "is no formula",
    "where(z > 0 > 1, z, 1)": "not allowed here",
    "where(z, z, 2)": "where takes one comparison first, as z > 0",
    "where(1, z, 2)": "where takes one comparison first, as z > 0",
    "z > 0": "not allowed here: z > 0",
    "sin(z > 0)": "not allowed here: z > 0",
    "z == z": "not allowed here: z == z",
    "where(z > 1, 2, 3)": "constant but for jumps",
    "2*sign(z) + 1": "constant but for jumps",
    "z # comment": "a formula has no comment",
    "0in z": "not allowed here: 0 in z",
    "(-8)**(1/3) * z": "must be real",
    "log(1 - 2) * z": "must be real",
    "exp(1000) * z": "a number of at most",
    "10**8 * 10**8 * z": "a number of at most",
    "1/log(celu(1)) * z": "divides by zero",
    "sin(sin(sin(sin(sin(sin(sin(z)))))))": "more than 6 calls inside one another",
    "relu(relu(relu(relu(relu(z)))))": "more than 16 branches",
    "max(z, 1)*max(z, 2)*max(z, 3)*max(z, 4)*max(z, 5)": "more than 16 branches",
    "((z + 1)**64)**64": "a degree above 64",
    "(z + 1)**64 / (z + 2)**64": "a degree above 64",
}

NOTEBOOK = """
dLdw2
[[-1.1295, -0.5753]]
dLdw1
[[ 0.0026,  0.0046],
 [ 0.0015, -7.9e-03]]
dLdb2
[-1.8976]
dLdb1
[ 0.0065, -0.0121]"""

BAD = {
    "": "empty",
    "\n\n": "empty",
    "[1., 2.]": ":1: expected a header",
    "dLdw1\n[1., 2.": ":1: dLdw1 is not complete",
    "dLdw1\n": ":1: dLdw1 is not complete",
    "dLdw1\n[]": "not complete",
    "dLdw1\n[[1.], [2., 3.]]": "different lengths",
    "dLdw1\n[1.]\ndLdw1\n[1.]": ":3: dLdw1 stands twice",
    "dLdq1\n[1.]": ":1: unknown header",
    "dLdw0\n[1.]": ":1: unknown header",
    "dLd" + 90 * "w": f":1: unknown header 'dLd{37 * 'w'}'; expected",
    90 * "7": f":1: expected a header such as dLdw1 first, got '{40 * '7'}'$",
    "dLdw1 extra\n[1.]": ":1: unknown header",
    "dLdw1\n[0.1, ..., 0.3]": ":2: .*shortened when it was written",
    "dLdw1\n[__import__('os')]": ":2: .*not a number",
    "dLdw1\n[1 2]": "not complete",
    "dLdw1\n[1.,,2.]": "not complete",
    "dLdw1\n[[[1.]]]": "not complete",
    "dLdw1\n[0x10]": "not a number",
    "dLdw1\n[" + 90 * "x": f":2: '{20 * 'x'}': not a number$",
    "dLdw1\n[1_000]": "not a number",
    "dLdw1\n[1.]]": "not complete",
    "dLdw1\n[1.]\ndLdb1\n[2, -1e400]": ":3: dLdb1: -1e400 is out of the range of float64",
    "dLdw1\n[1e-400]": "1e-400 is out of the range of float64",
}
