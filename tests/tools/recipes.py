"""Writes recipes.md: losses that people differentiate by hand, as they are written here.

python -m tests.tools.recipes
python -m tests.tools.recipes --seconds [problems.json]   what each takes to derive and to prove, or those of a file
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from sympy import ShapeError

from derive import derivation
from tests.helpers.recipes import HEAD, RECIPES, TAIL, Recipe

PAGE = Path(__file__).with_suffix(".md")
INTRODUCTION = f"""\
# Recipes

Losses that people differentiate by hand, as `derive.derivation` takes them. Written by `python -m tests.tools.recipes`;
the tests run each and hold its gradients to torch's autograd of torch's own functions. All begin with

```python
{HEAD.rstrip()}
```

and end with

```python
{TAIL}
```
"""


def run(recipe: Recipe) -> dict[str, Any]:
    """The names that the code of a recipe defines, loss and variables among them."""
    names: dict[str, Any] = {}
    exec(HEAD + recipe.code, names)
    return names


def section(recipe: Recipe) -> str:
    return f"\n## {recipe.title}\n\n{recipe.words}\n\n```python\n{recipe.code}\n```\n"


def problems(file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The problems of a file, each with the names that its code defines; without those that SymPy cannot build."""
    for problem in json.loads(Path(file).read_text(encoding="utf-8")):
        names: dict[str, Any] = {}
        with suppress(ShapeError):
            exec(f"from sympy import *\nfrom derive.matrix import *\n{problem['sympy']}", names)
            yield problem["id"], names


def seconds(subjects: Iterator[tuple[str, dict[str, Any]]]) -> None:
    """Prints the processor's seconds for the derivation of each and for its proof, and their medians."""
    taken = []
    for title, names in subjects:
        began = time.process_time()
        derived = derivation(names["loss"], names["variables"], prove=False)
        between = time.process_time()
        derived.prove()
        taken.append((between - began, time.process_time() - between))
        print(f"{taken[-1][0]:8.2f} {taken[-1][1]:8.2f}  {title}")
    derived_in, proved_in, whole = (median(column) for column in zip(*((a, b, a + b) for a, b in taken), strict=True))
    print(f"{derived_in:8.2f} {proved_in:8.2f}  median of {len(taken)}: {whole:.2f} s together")


if __name__ == "__main__" and sys.argv[1:2] == ["--seconds"]:
    seconds(problems(sys.argv[2]) if sys.argv[2:] else ((recipe.title, run(recipe)) for recipe in RECIPES))
elif __name__ == "__main__":
    PAGE.write_text(INTRODUCTION + "".join(map(section, RECIPES)), encoding="utf-8")
