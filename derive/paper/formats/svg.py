"""Figures as SVG."""

import html
import math

from derive.paper import Circle, Curve, Figure, Label, Segment

NARROWEST = 370  # what is wider is scrolled on a phone, and not made smaller


def svg(figure: Figure) -> str:
    """A figure as SVG, in the colour of the text around it; symbols carry their names."""
    wide = f' style="min-width: {figure.width:g}px"' if figure.width > NARROWEST else ""
    shapes = "\n".join(svg_part(part, figure.height) for part in figure.parts)
    for reading in figure.readings[figure.at : figure.at + 1]:
        mark, line = svg_part(reading.mark, figure.height), line_path(reading.line, figure.height)
        shapes += f'\n<g class="reading" stroke-width="1.2">{mark}<path d="{line}"/></g>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {figure.width:g} {figure.height + 6:g}" '
        f'width="{1.5 * figure.width:g}"{wide} role="img" aria-label="{html.escape(figure.caption)}" class="figure">\n'
        "<style>.figure { color: #222; font: 11px serif; max-width: 100%; height: auto }"
        " @media (prefers-color-scheme: dark) { .figure { color: #ddd } }</style>\n"
        '<g fill="none" stroke="currentColor" stroke-width="0.6">\n'
        f"{shapes}\n</g>\n</svg>"
    )


def label_text(label: Label) -> str:
    """A label's characters; a symbol in bold italics, as in formulas, and what stands before it as it is there."""
    if not label.symbol or r"\mathrm" in label.tex:
        return html.escape(label.text)
    style = 'font-style="italic"' + ' font-weight="bold"' * (r"\boldsymbol" in label.tex)
    before, letters, index = map(html.escape, label.sign)
    front = f'<tspan font-style="italic">{before}</tspan>' if before else ""
    return f"{front}<tspan {style}>{letters}</tspan>{index}"


def line_path(points: tuple[tuple[float, float], ...], height: float) -> str:
    return "M" + "L".join(f"{x:.2f} {height - y:.2f}" for x, y in points)


def svg_part(part: Circle | Segment | Label | Curve, height: float) -> str:
    if isinstance(part, Curve):
        dashes = ' stroke-dasharray="4 3"' * part.dashed
        return f'<path stroke-width="1.2"{dashes} d="{line_path(part.points, height)}"/>'
    if isinstance(part, Circle):
        return f'<circle cx="{part.x:g}" cy="{height - part.y:g}" r="{part.radius:g}"/>'
    if isinstance(part, Label):
        name = f' data-symbol="{html.escape(part.symbol)}"' if part.symbol else ""
        small = ' font-size="9"' if not part.symbol else ""
        return (
            f'<text x="{part.x:g}" y="{height - part.y + 4:g}" text-anchor="middle" fill="currentColor" '
            f'stroke="none"{small}{name}>{label_text(part)}</text>'
        )
    x1, y1, x2, y2 = part.x1, height - part.y1, part.x2, height - part.y2
    path = f"M{x1:.2f} {y1:.2f}L{x2:.2f} {y2:.2f}"
    if part.arrow:
        length = math.hypot(x2 - x1, y2 - y1)
        ux, uy = 4 * (x2 - x1) / length, 4 * (y2 - y1) / length
        left, right = (x2 - ux - uy / 2, y2 - uy + ux / 2), (x2 - ux + uy / 2, y2 - uy - ux / 2)
        path += f"M{left[0]:.2f} {left[1]:.2f}L{x2:.2f} {y2:.2f}L{right[0]:.2f} {right[1]:.2f}"
    return f'<path d="{path}"/>'
