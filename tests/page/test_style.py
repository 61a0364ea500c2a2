"""The look: one colour, marker and name an arm, told apart by every kind of sight and on every page."""

import io
from itertools import combinations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from helpers.page import pictures, style

CENTRAL = ("standard", "expanded", "gated")

# Machado, Oliveira and Fernandes (2009), severity 1.0, acting on linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def linear_rgb(colour):
    c = np.array(matplotlib.colors.to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def cielab(rgb):
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(a, b):
    dark, light = sorted(linear_rgb(c) @ [0.2126, 0.7152, 0.0722] for c in (a, b))
    return (light + 0.05) / (dark + 0.05)


def distance(a, b, sight):
    return np.linalg.norm(cielab(SIGHT[sight] @ linear_rgb(a)) - cielab(SIGHT[sight] @ linear_rgb(b)))


@pytest.mark.parametrize("sight", SIGHT)
def test_central_arms_are_far_apart_for_every_sight(sight):
    for a, b in combinations(CENTRAL, 2):
        assert distance(style.PALETTE[a], style.PALETTE[b], sight) > 30, (a, b)


@pytest.mark.parametrize("sight", SIGHT)
def test_any_two_colours_are_apart_for_every_sight(sight):
    for a, b in combinations(set(style.PALETTE.values()), 2):
        assert distance(a, b, sight) > 15, (a, b)


@pytest.mark.parametrize("arm", style.PALETTE)
def test_every_colour_stands_out_from_the_panel(arm):
    assert contrast(style.PALETTE[arm], style.PANEL) >= 3


def test_text_stands_out_from_the_panel():
    assert contrast(style.INK, style.PANEL) >= 7


def test_every_arm_has_colour_marker_and_name_and_no_two_share_a_marker():
    assert style.PALETTE.keys() == style.MARKERS.keys() == style.LABELS.keys()
    assert len(set(style.MARKERS.values())) == len(style.MARKERS)
    assert len(set(style.LABELS.values())) == len(style.LABELS)


def test_use_overrides_a_users_settings_and_can_be_repeated():
    with matplotlib.rc_context():
        style.use()
        first = dict(matplotlib.rcParams)
        matplotlib.rcParams["font.size"] = 33
        matplotlib.rcParams["lines.linestyle"] = ":"
        style.use()
        assert dict(matplotlib.rcParams) == first


@pytest.mark.parametrize("size", style.SIZES)
def test_figures_carry_their_own_light_panel(size):
    with matplotlib.rc_context():
        style.use()
        figure, axes = plt.subplots(figsize=style.SIZES[size])
        axes.plot([0, 1], marker=style.MARKERS["gated"], color=style.PALETTE["gated"])
        figure.canvas.draw()
        corner = np.asarray(figure.canvas.buffer_rgba())[0, 0]
        plt.close(figure)
    assert corner[3] == 255 and corner[:3].min() > 240


@pytest.mark.parametrize("colours", [pictures.COLOURS, 48])
def test_no_two_arms_become_one_in_a_small_picture(colours):
    with matplotlib.rc_context():
        style.use()
        figure, axes = plt.subplots(figsize=style.SIZES["wide"])
        for i, (arm, colour) in enumerate(style.PALETTE.items()):
            axes.plot([0, 1, 2], [i, i + 1, i], marker=style.MARKERS[arm], color=colour, label=arm)
        raw = io.BytesIO()
        figure.savefig(raw, format="png", dpi=pictures.DPI)
        plt.close(figure)
    image = Image.open(io.BytesIO(pictures.shrunk(raw.getvalue(), colours))).convert("RGB")
    many = [np.array(colour) / 255 for count, colour in image.getcolors(1 << 16) if count > 500]
    for colour in set(style.PALETTE.values()):
        nearest = min(many, key=lambda c: np.abs(c - matplotlib.colors.to_rgb(colour)).max())
        assert np.linalg.norm(cielab(linear_rgb(tuple(nearest))) - cielab(linear_rgb(colour))) < 7, colour
