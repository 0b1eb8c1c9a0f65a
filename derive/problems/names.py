"""The names that people type, for activations and losses: torch's functions and classes, in any case, - for _."""

import difflib
import re
from collections.abc import Iterable

from derive.formulas import shortened

CLASSES = {"bceloss": "binary_cross_entropy", "bcewithlogitsloss": "binary_cross_entropy_with_logits"}
ELSEWHERE = {  # under other names than torch.nn.functional's, or not as one entry at a time
    "bce": "did you mean 'binary_cross_entropy'?",
    "linear": "identity is the name of no activation",
    "logsoftmax": "the loss cross_entropy is log_softmax and nll_loss in one",
    "nll": "the loss cross_entropy is log_softmax and nll_loss in one",
    "none": "identity is the name of no activation",
    "softmax": "the loss cross_entropy applies softmax by itself, and a loss of your own may hold softmax(p)",
    "ce": "did you mean 'cross_entropy'?",
    "categoricalcrossentropy": "did you mean 'cross_entropy'?",
    "sparsecategoricalcrossentropy": "did you mean 'cross_entropy'?",
    "logistic": "did you mean 'sigmoid'?",
    "mae": "did you mean 'l1_loss'?",
    "swish": "did you mean 'silu'?",
    "hinge": "a formula for it is max(1 - p*y, 0)",
    "multimargin": "a formula of its kind is y*(max(p + 1 - y) - p), with 1 for the class of a row",
    "logcosh": "a formula for it is log((exp(p - y) + exp(y - p))/2)",
}


OF_SETTINGS = {"false": "did you mean 'none'?", "true": "did you mean 'all'?"}  # that are no functions


def bare(name: str) -> str:
    """The letters and digits of a name, small."""
    return re.sub(r"[-_\s]", "", name.lower())


def canonical(name: str, known: Iterable[str]) -> str:
    """The known name that is meant, or the name as it is; a class of torch may have Loss at its end."""
    if re.fullmatch(r"[\w\s-]+", name) is None:
        return name
    meant = CLASSES.get(bare(name), "")
    return next(
        (row for row in known if row == meant or bare(name) in (bare(row), f"{bare(row)}loss")),
        name,
    )


def known_name(field: str, name: str, known: Iterable[str]) -> str:
    """The name, if it is known.

    Raises ValueError with what is meant, or the nearest known name, and the list of all.
    """
    if not isinstance(name, str):
        raise TypeError(f"{field}: expected a name, got {shortened(name)}")
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.5)
        elsewhere = OF_SETTINGS if field in ("bias", "reduction") else ELSEWHERE
        hint = elsewhere.get(bare(name).removesuffix("loss")) or (f"did you mean {near[0]!r}?" if near else "")
        space = "" if not hint else " " if hint.endswith("?") else "; "
        raise ValueError(f"{field}: no {shortened(name)}; {hint}{space}known: {', '.join(known)}")
    return name
