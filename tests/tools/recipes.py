"""Writes recipes.md: losses that people differentiate by hand, as they are written here.

python -m tests.tools.recipes
"""

from pathlib import Path
from typing import Any

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


if __name__ == "__main__":
    PAGE.write_text(INTRODUCTION + "".join(map(section, RECIPES)), encoding="utf-8")
