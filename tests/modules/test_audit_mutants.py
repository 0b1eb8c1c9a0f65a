"""Slips put into right backwards, one at a time: none is accepted but those that change no number."""

import random

import pytest
import torch

from derive.audit import Refused, Wrong, audit
from derive.modules.graph import Module
from derive.modules.written import COTANGENT_NAME, WrittenBackward
from tests.helpers.backwards import CASES, HEAD
from tests.helpers.slips import mutants


def gradients(path, case) -> list[torch.Tensor]:
    """What a file gives of random numbers, in float64."""
    module = Module(case.layer(), case.example())
    written = WrittenBackward(path, module)
    generator = torch.Generator().manual_seed(1)
    tensors = {f"{COTANGENT_NAME}{place}": output for place, output in enumerate(module.outputs())} | module.tensors()
    drawn = {
        name: torch.rand(t.shape, generator=generator, dtype=torch.float64) - 0.5 if t.is_floating_point() else t
        for name, t in tensors.items()
    }
    return list(written.called(drawn))


def accepted(name: str, texts: list[str], tmp_path) -> list[str]:
    """Those that are not rejected, although they give other numbers."""
    case, found = CASES[name], []
    right = tmp_path / "right.py"
    right.write_text(HEAD + case.backward)
    wanted = gradients(right, case)
    for number, text in enumerate(texts):
        path = tmp_path / f"mutant{number}.py"
        path.write_text(HEAD + text)
        try:
            audit(case.layer(), case.example(), path)
        except (Wrong, Refused):
            continue
        got = gradients(path, case)
        if any(not torch.allclose(mine, other, rtol=1e-9, atol=1e-12) for mine, other in zip(got, wanted, strict=True)):
            found.append(text)
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_slip_is_not_accepted(name, tmp_path):
    texts = mutants(CASES[name].backward)
    assert len(texts) >= 10
    assert accepted(name, random.sample(texts, 3), tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_no_slip_is_accepted(name, tmp_path):
    texts = mutants(CASES[name].backward)
    assert accepted(name, random.sample(texts, min(len(texts), 25)), tmp_path) == []
