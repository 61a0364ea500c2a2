"""Every explorer of every chapter, at every choice of its menus and off the grid of its sliders.

What a description says is what is drawn, as far as a picture can be asked. The cells that an explorer needs are run;
what takes long or needs the language model is replaced by something small of the same kind.
"""

import hashlib
import itertools
import math
import re
from numbers import Integral
from typing import NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from cells import CELLS, needed
from chapters import chapter
from matplotlib.collections import PathCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from models import write_folder
from samples import seeded

import helpers.page
from helpers.definitions import TEMPLATES, encode, onward, onward_run
from helpers.lm import load_lm
from helpers.reviewer import ReviewedPlans, exact

WHERE = [
    (path, i) for path, cells in CELLS.items() for i, cell in enumerate(cells) if re.search(r"^Explorer\(", cell, re.M)
]


class Made(NamedTuple):
    """What a cell handed to ``Explorer``, and all that it and the cells before it defined."""

    draw: callable
    controls: dict
    alt: callable
    start: dict
    between: bool
    space: dict


# What takes long, small


def three_dictionaries():
    n, d = 900, 24
    live = {
        k: torch.randn(n, d, generator=seeded(i)) for i, k in enumerate(("dictionary", "covariance", "activations"))
    }
    return {"live": live, "n": n, "d": d}


def tiny_model(folder):
    lm = load_lm(write_folder(folder / "llama", "Llama", layers=2))
    words = ["snake", "dollar", "ship", "table", "dog", "idea"]
    answer = onward_run(lm, onward(lm, encode(lm, TEMPLATES[0], words)), 1.0).logp
    return {"lm": lm, "WORDS": words, "answers": [answer]}


def one_world():
    world = ReviewedPlans()
    return {"world": world, "agent": exact(world.but(drift=0.0), "none", steps=10).theta}


GIVEN = {"02": three_dictionaries, "04": tiny_model, "05": one_world}


@pytest.fixture(scope="module", params=WHERE, ids=lambda where: f"{where[0].stem}-{where[1]}")
def made(request, tmp_path_factory):
    path, at = request.param
    give = GIVEN.get(path.stem[:2], dict)
    space = {"__name__": "__main__", **(give(tmp_path_factory.mktemp("model")) if give is tiny_model else give())}
    given, taken = set(space), []
    with pytest.MonkeyPatch.context() as patch, matplotlib.rc_context():
        patch.setattr(helpers.page, "Explorer", lambda draw, controls, **more: taken.append((draw, controls, more)))
        for i in needed(CELLS[path], at, given):
            small = {name: space[name] for name in given}
            exec(compile(CELLS[path][i], f"{path.stem}, code cell {i + 1}", "exec"), space)
            space |= small if i != at else {}
        ((draw, controls, more),) = taken
        start = {name: values[0] for name, values in controls.items()} | more.get("start", {})
        yield Made(draw, controls, more["alt"], start, more.get("between", False), space)
    plt.close("all")


# Where it is asked


def is_menu(values) -> bool:
    return isinstance(values[0], str) or len(values) < 3


def stops(values, between: bool) -> list:
    """Where a slider is put: at its ends and, if it runs free, between some of its stops."""
    if not between:
        return [values[0], values[-1]]
    if all(isinstance(v, Integral) for v in values):
        free = [v for v in range(values[0], values[-1] + 1) if v not in values]
        return [values[0], *free[:: max(1, len(free) // 3)][:3], values[-1]]
    step = (values[-1] - values[0]) / 200  # as the live panel has it
    free = [values[0] + step * i for i in (1, 67, 121, 183)]
    return [values[0], *(v for v in free if not np.isclose(values, v).any()), values[-1]]


def points(made: Made) -> list[dict]:
    menus = {name: values for name, values in made.controls.items() if is_menu(values)}
    sliders = {name: stops(v, made.between) for name, v in made.controls.items() if name not in menus}
    moved = [{}, *({name: value} for name, values in sliders.items() for value in values)]
    moved.append({name: values[len(values) // 2] for name, values in sliders.items()})
    choices = [dict(zip(menus, choice, strict=True)) for choice in itertools.product(*menus.values())]
    return [made.start | choice | move for choice in choices for move in moved]


# What is seen there


def artists(figure, kind) -> list:
    return [a for a in figure.findobj(kind) if a.get_visible()]


def unsound(figure) -> list[str]:
    """What no reader should see: a text that is no number, a line, bar or mark that lies nowhere."""
    texts = [t.get_text() for t in artists(figure, Text)]
    wrong = [text for text in texts if re.search(r"\b(nan|inf|None)\b", text)]
    for line in artists(figure, Line2D):
        y = np.ma.filled(np.ma.masked_invalid(np.asarray(line.get_ydata(), float)), np.nan)
        if y.size and (not np.isfinite(y).any() or np.isinf(np.asarray(line.get_ydata(), float)).any()):
            wrong.append(f"a line at {line.get_ydata()!r}")
    for bar in artists(figure, Rectangle):
        if not np.isfinite([*bar.get_xy(), bar.get_width(), bar.get_height()]).all():
            wrong.append(f"a bar at {bar!r}")
    for marks in artists(figure, PathCollection):
        if not np.isfinite(np.asarray(marks.get_offsets(), float)).all():
            wrong.append(f"marks at {marks.get_offsets()!r}")
    return wrong


def picture(figure) -> str:
    figure.set_dpi(50)
    figure.canvas.draw()
    return hashlib.sha256(bytes(figure.canvas.buffer_rgba())).hexdigest()


# What each description says of its picture


def numbers(text: str) -> list[float]:
    return [float(n.replace("−", "-")) for n in re.findall(r"[−-]?\d+(?:\.\d+)?(?:e[−-]?\d+)?", text)]


def words(figure) -> str:
    return " ".join(" ".join(t.get_text().split()) for t in artists(figure, Text))


def title(axes) -> str:
    """Wherever it stands."""
    return "".join(axes.get_title(loc=loc) for loc in ("left", "center", "right"))


def marks(figure, marker) -> np.ndarray:
    """Where single marks stand, in the order drawn."""
    return np.array([line.get_xydata()[0] for line in artists(figure, Line2D) if line.get_marker() == marker])


def jump(figure, said, values, space):
    x, y = figure.axes[0].lines[1].get_data()
    (told,) = numbers(said.split("jump to ")[1])[:1] if "jump" in said else (0.0,)
    assert told == pytest.approx(values["gap"], rel=1e-5)
    on = np.flatnonzero(x > 1.2)[:2]
    slope = (y[on[1]] - y[on[0]]) / (x[on[1]] - x[on[0]])
    assert y[on[0]] - slope * (x[on[0]] - 1.2) == pytest.approx(values["gap"], abs=1e-6) and not y[x < 1.2].any()
    assert numbers(figure.axes[0].get_legend().get_texts()[1].get_text()) == pytest.approx([values["gap"]], rel=1e-5)


def means(figure, said, values, space):
    k, dictionary, covariance, _ = numbers(said)
    at = marks(figure, "^")[:, 0]
    assert (k, dictionary, covariance) == pytest.approx((values["k"], at[0], at[1]), abs=0.0051)


def errors(figure, said, values, space):
    wrong, each = re.search(r"wrong (.*), errors per active feature (.*)\.$", said).groups()
    shown = title(figure.axes[0])
    assert f"some reading wrong: {wrong}\n" in shown
    if each == "over 10":
        assert shown.endswith("more than 10")
    else:
        assert float(each) == pytest.approx(numbers(shown)[-1], abs=0.0551)
    assert marks(figure, "o")[0, 0] == values["l"] and numbers(said)[:3] == [1024, values["m"], values["l"]]


def answer(figure, said, values, space):
    text = re.search(r": '(.*)'\. Compared", said, re.S)[1]
    shown = words(figure)
    assert f"'{text}" in shown and f"'{values['word']}'" in shown and values["word"] in said
    scale = f"{10.0 ** values['power']:.3g}"
    assert f"× {scale}" in shown and f"scale {scale}:" in said
    rank = 1 if "no other word's" in said else numbers(said)[-1] + 1
    n = len(space["WORDS"])
    assert marks(figure, "o")[0, 0] == pytest.approx(0.2 + 3.7 * math.log(rank) / math.log(n))


def ends(figure, said, values, space):
    assert numbers(said)[:2] == pytest.approx([values["drift"], values["recall"]], rel=1e-4)
    lines = artists(figure, Line2D)
    last = [line.get_xydata()[0] for line in lines if len(line.get_xydata()) == 1 and line.get_marker() != "None"]
    told = np.array(numbers(said)[2:]).reshape(-1, 2)  # work, harm
    assert np.array(last)[: len(told), ::-1] == pytest.approx(told, abs=0.0501)


def best(figure, said, values, space):
    kind = title(figure.axes[0]).removeprefix("Best: ")
    told = {"with $f_3$": ("leaning", "a row near their sum"), "without $f_3$": ("f3 is lost",)}
    assert [k for k, words in told.items() if any(part in said for part in words)] == [kind]
    assert ("given up" in words(figure)) == ("lost" in said)
    total = [sum(bar.get_height() for bar in bars) for bars in zip(*figure.axes[1].containers, strict=True)]
    assert figure.axes[1].lines[0].get_ydata()[0] == pytest.approx(min(total))
    assert numbers(said.split("= ", 1)[1])[0] == pytest.approx(values["ratio"], rel=6e-3)


def tops(figure, said, values, space):
    bars = figure.axes[0].containers[0]
    filled = [bar for bar in bars if bar.get_height()]
    at = numbers(said.split("peaks at ")[1])
    assert at[-1] == pytest.approx(filled[-1].get_x() + filled[-1].get_width() / 2, abs=0.065)
    assert sum(bar.get_height() for bar in bars) == space["SIZE"] == sum(b.get_height() for b in figure.axes[1].patches)
    for place in at[:-1:2]:
        assert any(abs(bar.get_x() - place) < 0.1 and bar.get_height() for bar in bars)


def kept(figure, said, values, space):
    left, same = (bars[0].get_width() for bars in figure.axes[0].containers)
    told, agreement = (float(p.replace("−", "-")) / 100 for p in re.findall(r"([−-]?\d+)%", said))
    assert max(told, -1) == pytest.approx(left, abs=0.00501) and agreement == pytest.approx(same, abs=0.00501)
    assert f"first {values['layers']} layers" in said and values["reads"] in said


def turned(figure, said, values, space):
    (ax,) = figure.axes
    assert (ax.azim, ax.elev) == (values["turn"], values["height"]) and numbers(said) == [ax.azim, ax.elev]


def shares(figure, said, values, space):
    told = float(re.search(r"share of (\S+) lies", said)[1])
    (dot,) = marks(figure, "o")
    assert told == pytest.approx(dot[1], rel=0.051) and dot[0] == pytest.approx(10.0 ** -values["decades"])
    assert said.endswith(f"below 1e-{values['decades']}.")


READ = {
    ("gap",): jump, ("k",): means, ("m", "l", "threshold"): errors, ("word", "power"): answer,
    ("drift", "recall"): ends, ("ratio", "sparsity"): best, ("strength", "arm"): tops,
    ("layers", "sites", "reads"): kept, ("turn", "height"): turned, ("curve", "decades"): shares,
}  # fmt: skip


def test_every_choice_is_drawn_and_the_description_says_what(made):
    read, seen, sizes = READ[tuple(made.controls)], {}, set()
    for values in points(made):
        figure, said = made.draw(**values), made.alt(**values)
        assert said.strip() and not re.search(r"\b(nan|inf|None)\b", said), (values, said)
        assert unsound(figure) == [], values
        read(figure, said, values, made.space)
        shown = picture(figure)
        assert seen.setdefault(said, shown) == shown, f"one description of two pictures: {said}"
        sizes.add(tuple(figure.get_size_inches()))
        plt.close(figure)
    assert len(sizes) == 1 and len(seen) >= 2 * len(made.controls)


def test_every_chapter_has_one_and_every_one_is_read():
    answered = {path.stem for path in CELLS if not chapter(path).open}
    assert {path.stem for path, _ in WHERE} == answered and len(WHERE) == len(READ)
