"""The templates, and how their holes are filled."""

import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, TemplateNotFound, TemplateSyntaxError
from jinja2.ext import Extension

DERIVE = Path(__file__).parent.parent
TEMPLATES = DERIVE / "templates"
if not TEMPLATES.is_dir():
    TEMPLATES = DERIVE.parent / "templates"
IDENTITY_DIGITS = 8


class PlacedLines(Extension):
    """Where `{% lines body %}` stands alone on a line, each line of that list is placed, as far to the right."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return "".join(map(self.loop, source.splitlines(keepends=True)))

    def loop(self, text: str) -> str:
        """The same as a loop, over which lines are counted as before."""
        margin, tag, rest = text.partition("{% lines ")
        return f"{{% for line in {rest.rstrip()}{margin}{{{{ line }}}}\n{{% endfor +%}}" if tag else text


def environment() -> Environment:
    return Environment(
        extensions=[PlacedLines],
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def page(template: str, holes: dict[str, Any]) -> str:
    """A template with its holes filled.

    Raises ValueError where it is missing, no template, or has a hole that nothing fills.
    """
    try:
        return environment().get_template(template).render(holes)
    except TemplateNotFound:
        raise ValueError(f"templates/{template}: no such template; each file that is written needs its own") from None
    except TemplateError as error:
        line = f":{error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
        raise ValueError(f"templates/{template}{line}: {error}; a hole is one of: {', '.join(holes)}") from None


def tensor_checks(derivatives: str) -> list[str]:
    """What every emitted module checks of tensors; `derivatives` says where the derivatives are that are derived."""
    return page("checks.py.j2", {"derivatives": derivatives}).splitlines()


def named_by_text(template: str, holes: dict[str, Any]) -> dict[str, Any]:
    """The holes of a header, and what tells it from those that say anything else."""
    said = page(template, {**holes, "identity": ""})
    return {**holes, "identity": hashlib.sha256(said.encode()).hexdigest()[:IDENTITY_DIGITS]}
