"""What a format is: a method for each kind of block and for what stands in prose."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable

from derive.paper import (
    Block,
    Boxed,
    Broken,
    Bullets,
    Chain,
    Display,
    Listing,
    Paragraph,
    Picture,
    Section,
    Table,
    Values,
)

REFERENCE = re.compile(r"\b[FBR]\d+\b")
INLINE = re.compile(r"\$([^$]*)\$([.,;:)]*)|`([^`]*)`|\*([^*]+)\*")


class Page(ABC):
    """Writes each kind of block by the method of its name."""

    anchors: frozenset[str] = frozenset()  # of the steps and rules that text can lead to

    @abstractmethod
    def escape(self, text: str) -> str: ...
    @abstractmethod
    def formula(self, tex: str) -> str: ...
    def formula_and(self, sign: str, tex: str) -> str:
        """A formula and the sign behind it, if there is one."""
        return self.formula(tex) + sign

    @abstractmethod
    def code(self, text: str) -> str: ...
    @abstractmethod
    def emphasis(self, text: str) -> str: ...
    @abstractmethod
    def heading(self, section: Section) -> str: ...
    @abstractmethod
    def paragraph(self, block: Paragraph) -> str: ...
    @abstractmethod
    def bullets(self, block: Bullets) -> str: ...
    @abstractmethod
    def display(self, block: Display) -> str: ...
    @abstractmethod
    def boxed(self, block: Boxed) -> str: ...
    @abstractmethod
    def broken(self, block: Broken) -> str: ...
    @abstractmethod
    def chain(self, block: Chain) -> str: ...
    @abstractmethod
    def values(self, block: Values) -> str: ...
    @abstractmethod
    def listing(self, block: Listing) -> str: ...
    @abstractmethod
    def table(self, block: Table) -> str: ...
    @abstractmethod
    def picture(self, block: Picture) -> str: ...

    def text(self, text: str) -> str:
        """Prose with formulas, code, emphasis and references to steps in it."""
        return self.written(text, self.words)

    def title(self, text: str) -> str:
        """The same where nothing leads anywhere."""
        return self.written(text, self.escape)

    def written(self, text: str, words: Callable[[str], str]) -> str:
        parts, start = [], 0
        for match in INLINE.finditer(text):
            parts.append(words(text[start : match.start()]))
            formula, sign, code, emphasis = match.groups()
            if formula is not None:
                parts.append(self.formula_and(sign, formula))
            elif code is not None:
                parts.append(self.code(code))
            else:
                parts.append(self.emphasis(self.written(emphasis, words)))
            start = match.end()
        return "".join([*parts, words(text[start:])])

    def words(self, text: str) -> str:
        def led(match: re.Match[str]) -> str:
            return self.reference(match[0]) if match[0] in self.anchors else match[0]

        return REFERENCE.sub(led, self.escape(text))

    def reference(self, anchor: str) -> str:
        return anchor

    def sections(self, sections: list[Section]) -> list[dict[str, str]]:
        """What a template places: each section's heading and body."""
        self.anchors = frozenset(anchor for section in sections for anchor in (section.anchor, *section.others))
        return [
            {
                "heading": self.heading(section),
                "body": "\n".join(self.block(block) for block in section.blocks),
            }
            for section in sections
        ]

    def body(self, sections: list[Section]) -> str:
        """All sections, one after the other."""
        return "\n".join(f"{section['heading']}\n\n{section['body']}\n" for section in self.sections(sections))

    def block(self, block: Block) -> str:
        write: Callable[[Block], str] = getattr(self, type(block).__name__.lower())
        return write(block)
