"""The sentences of the pages, which stand in prose.toml, with what a derivation puts into them."""

import re
import tomllib
from functools import cache
from pathlib import Path


@cache
def texts() -> dict[str, dict[str, str]]:
    """The texts by section and name, each on one line."""
    sections = tomllib.loads(Path(__file__).with_name("prose.toml").read_text(encoding="utf-8"))
    return {section: {name: " ".join(text.split()) for name, text in of.items()} for section, of in sections.items()}


def prose(key: str, **holes: object) -> str:
    """The text of that section and name, its <holes> filled."""
    section, name = key.split(".")
    return re.sub(r"<(\w+)>", lambda hole: str(holes[hole[1]]), texts()[section][name])
