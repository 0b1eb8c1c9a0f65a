"""The backward of a module as a module of Python, and what autograd says of it."""

from types import ModuleType

import torch

from derive.modules.graph import Module, identifier, results


def loaded(text: str) -> ModuleType:
    module = ModuleType("layer")
    exec(compile(text, "layer.py", "exec"), module.__dict__)
    return module


def truth(module: Module, cotangents: list[torch.Tensor] | None = None):
    """The outputs, cotangents of them, and the gradients that autograd gives, by the names of what they are for."""
    held = {identifier(path): one for path, one in module.held().items()}
    for one in held.values():
        one.grad = None
    given = {name: one.clone().requires_grad_(one.is_floating_point()) for name, one in module.example.items()}
    outputs = results(module(*given.values()))
    drawn = cotangents or [torch.randn_like(one) for one in outputs]
    sum((g * one).sum() for g, one in zip(drawn, outputs, strict=True)).backward()
    gradients = {name: one.grad for name, one in {**given, **held}.items()}
    tensors = {name: one.detach() for name, one in {**given, **held}.items()}
    return outputs, drawn, gradients, tensors
