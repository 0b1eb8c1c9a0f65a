"""The figures of curves: tangents have the slopes that differences find, and stay between the axes."""

import re
from dataclasses import replace

import pytest

from derive.packages.emit import subject_of
from derive.paper import Picture
from derive.paper.formats import HtmlPage, TexPage, svg
from derive.paper.plots import PLOT_HEIGHT, PLOT_WIDTH, ticks
from derive.problems.network import Network

NETWORKS = {
    "default": Network(),
    "relu": Network((3, 4, 2), "relu", reduction="mean"),
    "cross entropy": Network((4, 8, 3), "tanh", loss="cross_entropy", reduction="mean"),
    "a formula": Network((2, 3, 1), "z*sigmoid(z)", loss="abs(p - y)**3"),
    "a penalty": Network((2, 4, 4, 1), "tanh", penalty="0.05*w**2", skip=((1, 2),)),
}


def figures(network: Network) -> dict:
    blocks = [block for section in subject_of(network).document for block in section.blocks]
    return {block.figure.name: block.figure for block in blocks if isinstance(block, Picture)}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_the_slope_that_is_read_is_that_of_the_curve(network):
    moved = [figure for figure in figures(network).values() if figure.readings]
    assert {figure.name for figure in moved} >= {"weight"}
    for figure in moved:
        read = [[float(x) for x in re.findall(r"-?\d[\d.]*(?:e[-+]\d+)?", r.text)] for r in figure.readings]
        assert all(len(numbers) == 3 for numbers in read)
        marks = [(reading.mark.x, reading.mark.y) for reading in figure.readings]
        (x0, y0), (x1, y1) = marks[0], marks[-1]
        if abs(y1 - y0) < 1:
            (x1, y1) = marks[len(marks) // 2]
        values = read[0], read[-1] if (x1, y1) == marks[-1] else read[len(marks) // 2]
        scale = (values[1][1] - values[0][1]) / (y1 - y0) / ((values[1][0] - values[0][0]) / (x1 - x0))
        for place in range(1, len(marks) - 1):
            (xa, ya), (xb, yb) = marks[place - 1], marks[place + 1]
            (xc, yc), (xd, yd) = figure.readings[place].line
            drawn = (yd - yc) / (xd - xc)
            assert drawn * scale == pytest.approx(read[place][2], rel=0.02, abs=0.02 * max(abs(r[2]) for r in read))
            sides = [(marks[place][1] - ya) / (marks[place][0] - xa), (yb - marks[place][1]) / (xb - marks[place][0])]
            near = 0.06 + 0.05 * abs(drawn)
            assert min(sides) - near <= drawn <= max(sides) + near
            assert all(0 <= x <= PLOT_WIDTH and 0 <= y <= PLOT_HEIGHT for x, y in figure.readings[place].line)


def test_each_format_draws_curves_and_readings():
    figure = figures(Network())["weight"]
    assert svg(figure).count('class="reading"') == 1
    assert svg(figure).count("<path") == svg(replace(figure, readings=())).count("<path") + 1 > 2
    drawn = TexPage().picture(Picture(figure))
    assert drawn.count(r"\qbezier") == len(figure.parts[-1].points) - 1 + 1
    page = HtmlPage().picture(Picture(figure))
    assert page.count('type="range"') == 1
    assert figure.readings[figure.at].text in page


@pytest.mark.parametrize(("low", "high", "expected"), [(-0.3, 6.3, [0, 2, 4, 6]), (3.09, 3.46, [3.1, 3.2, 3.3, 3.4])])
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)
