"""Python text that knows how tightly it holds together, so that brackets stand where they are needed."""

CONDITION, SUM, CHAIN, PRODUCT, POWER, ATOM = range(6)  # a minus in front counts as a sum, a chain has an @ in it


class Code(str):
    """The text of an expression and its level; of a product also its first factor, which a minus in front goes to."""

    level: int
    first: "Code"

    def __new__(cls, text: str, level: int = ATOM, first: "Code | None" = None) -> "Code":
        code = super().__new__(cls, text)
        code.level, code.first = level, code if first is None else first
        return code

    def at(self, level: int) -> "Code":
        """The code, in brackets if it holds together less tightly than that."""
        return self if self.level >= level else Code(f"({self})")

    def times(self, other: "Code", least: int = PRODUCT) -> "Code":
        """The product; Python multiplies from left to right, so that the right factor must hold together more."""
        left, right = self.at(CHAIN), other.at(least)
        return Code(f"{left} * {right}", min(left.level, right.level, PRODUCT), left.first)

    def over(self, other: "Code") -> "Code":
        left = self.at(CHAIN)
        return Code(f"{left} / {other.at(POWER)}", min(left.level, PRODUCT), left.first)

    def chained(self, other: "Code") -> "Code":
        """The matrix product."""
        left = self.at(CHAIN)
        return Code(f"{left} @ {other.at(ATOM)}", CHAIN, left.first)

    def plus(self, other: "Code") -> "Code":
        """The sum; what begins with a minus is subtracted, and its other terms are added."""
        minus = other.startswith("-")
        return Code(f"{self} - {other[1:]}" if minus else f"{self} + {other}", SUM)

    def minus(self, other: "Code") -> "Code":
        return Code(f"{self} - {other.at(CHAIN)}", SUM)

    def negative(self) -> "Code":
        """Minus the code; a power in front is put in brackets, as formatters do."""
        code = self.at(CHAIN)
        return Code(f"-{code.first.at(ATOM)}{code[len(code.first) :]}", SUM)
