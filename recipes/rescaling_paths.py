"""Chapter 4's second grid: through what a definition is lost, on all test words with all templates.

    python -m recipes rescaling_paths [--reduced] [--model NAME …] [--bos] [--until MINUTES] [--scheduler tcp://…]

Later positions see a word through its keys and values alone, and what is written at the word's position is seen there
through norms alone. So at s = 100 the keys, the values, or single norms are given what they had, or would have seen, at
s = 1; and at s = 1 they are given those of s = 100. Here every word is asked for with every template.

**Measures**, for each word and run: `own`, transferred information (nats); `fixed`, the same against the mean answer of
s = 1 in place of the run's own mean; `information` (nats); `place`, of the word's own definition among those of all
words, by affinity to the answer (1: recovered; one answer for all recovers one word); `first`, whether the likeliest
first token is that of s = 1; `attention`, of the A2 heads from the last position to the word. There is one reference:
C = 0 nats, which is what any one answer for all words earns, silence included; C = I at s = 1 is all there is.

**Rules**, written before any of this was run on test words, but knowing the earlier grid (`recipes.rescaling`: each
word with one template) and an outside run of 16 nouns, which had values back .52 of .83 nats and keys -.28:

* *Values carry it* in a model and template if at s = 100 C with the values of s = 1 exceeds C with its keys and exceeds
  zero (95% intervals over words). It is *values alone* if C with values is also at least half of I(1).
* *Shares* is the general form of the comment's step 3: writes are not wrong in themselves, the embedding outweighs them
  in the norms through which they are read. Writes times s, and norms that see the stream without the excess
  (s - 1) e, must both bring back all of it (a check, not a test). What is a test: which norms. *Never written* holds if
  C with only the MLPs' norms mended and the values' norms not is above C with only the values' norms mended; *hidden
  at reading* if it is the other way round.
* *Generic or nonsense.* At s = 1 with the keys of s = 100 answers are generic if I is below half of I(1); with the
  values of s = 100 they are nonsense of the word's own if I is above half of I(1), C is below zero, and the same word's
  answers in two templates are more alike than those of different words.
* *A neutral* prompt is the candidate that takes most of A2's attention away, as a share of the way to s = 100, averaged
  over models, on discovery words. It can show a tag if on test words the whole swap goes a quarter of the way or more.
  A1's effect is then given as a share of the whole swap's.

**Pilots.** On a third of the discovery words it was seen that the two checks come out, and what a run costs. Neutral
prompts were chosen on all discovery words. A reduced grid on nine test words showed that every point runs; its results
were not looked at. *Patterns and values of s = 1* was run again after its first numbers were seen: patterns had been
applied to the values before these were put back. Its counterpart at s = 1 was added then. Nothing else was added,
changed or taken out after test words were seen.

Here all test words are asked for with all templates; by layer every second test word, to save time.

Writes `rescaling_paths.csv` (a row a run and measure, a column a word; `setting` is a layer, a depth or a factor),
`rescaling_streams.csv` (a row a layer), `rescaling_kinship.csv`, `rescaling_neutrals.csv`, `rescaling_cues.csv` and
`rescaling_path_texts.csv`. Finished points are kept in the cache.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import pandas as pd

from helpers.definitions import TEMPLATES
from helpers.runs import artifact, cache_dir, save_artifact, sweep

from .command import options
from .paths_more import kin, neutrals, said, streams, tag
from .paths_tests import PARTS
from .rescaling import MODELS

KEPT = {  # measures that are shipped, by part
    "paths": ("own", "fixed", "information", "place", "first", "attention"),
    "patterns": ("own", "fixed", "information", "place", "first"),
    "layers": ("own", "place"),
    "writes": ("own", "information", "place"),
    "doses": ("own", "place", "attention"),
    "tag": ("own", "place", "attention"),
}
KEYS = ["model", "template", "part", "condition", "setting", "scale", "measure"]


def work(stage: str, name: str, bos: bool, **point) -> dict:
    """One point of the grid."""
    stages = PARTS | {"neutrals": neutrals, "tag": tag, "streams": streams, "kin": kin, "texts": said}
    begun = time.process_time()
    return {"result": stages[stage](name, bos, **point), "seconds": round(time.process_time() - begun, 1)}


def best_neutrals(table: pd.DataFrame) -> dict[int, str]:
    """Of each template the candidate that takes most of the way to s = 100, the models' shares averaged."""
    share = table.groupby(["template", "neutral"], sort=False).share.mean()
    return {int(k): share[k].idxmax() for k in share.index.get_level_values("template").unique()}


def wide(done: pd.DataFrame) -> pd.DataFrame:
    """A row a run and measure, a column a word, from points that hold lists of runs."""
    rows = []
    for point in done.itertuples():
        for run in point.result:
            keys = {k: run.get(k) for k in ("condition", "setting", "scale")}
            for measure in [m for m in KEPT[point.stage] if m in run["measures"]]:
                values = run["measures"][measure]
                row = dict(zip(KEYS, (point.name, point.k, point.stage, *keys.values(), measure), strict=True))
                rows.append(row | dict(zip(point.words, values, strict=True)))
    return pd.DataFrame(rows, dtype=object)  # so that places stay whole numbers


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("rescaling_paths", __doc__, "until", "scheduler", reduced="every sixth word", model=list(MODELS))
    parser.add_argument("--bos", action="store_true", help="put the first token in front, for models not named here")
    args = parser.parse_args(argv)
    deadline = time.time() + 60 * args.until if args.until else None
    table = pd.read_csv(artifact("definition_words.csv"), keep_default_na=False)
    words = {split: list(g.word)[:: 6 if args.reduced else 1] for split, g in table.groupby("split")}
    heads = pd.read_csv(artifact("rescaling_heads.csv"), keep_default_na=False)
    templates = range(len(TEMPLATES))

    def run(points):
        local = None if args.scheduler else 1  # a process holds both models
        return sweep(
            work, points, folder=cache_dir() / "runs", scheduler=args.scheduler, processes=local, deadline=deadline
        )

    def point(stage, name, split="test", **more):
        roles = heads[(heads.model == name) & (heads.role != "")][["layer", "head", "role", "rank"]].to_dict("records")
        if not roles:
            raise ValueError(f"model={name!r} has no heads in rescaling_heads.csv; run recipes.rescaling with it first")
        base = {"stage": stage, "name": name, "bos": MODELS.get(name, args.bos), "words": words[split], "heads": roles}
        return base | more

    found = run([point("neutrals", name, "discovery", k=k) for name in args.model for k in templates])
    candidates = pd.DataFrame([row for rows in found.result for row in rows])
    chosen = best_neutrals(candidates)
    each = [(name, k) for name in args.model for k in templates]
    grid = [point(stage, name, k=k) for stage in ("paths", "patterns", "writes", "doses") for name, k in each]
    grid += [point(stage, name) for stage in ("kin", "texts") for name in args.model]
    grid += [
        point("tag", name, k=k, neutral=neutral)
        for name, k in each
        for neutral in dict.fromkeys((TEMPLATES[k].neutral, chosen[k]))
    ]
    grid += [point("streams", name, k=k) for name, k in each]
    grid += [point("layers", name, k=k) | {"words": words["test"][::2]} for name, k in each]
    done = run(grid)
    made = {"recipe": "python -m recipes.rescaling_paths", "seed": 0}
    made["seconds"] = round(found.seconds.sum() + done.seconds.sum())

    def save(name, frame):
        path = f"{'reduced/' * args.reduced}{name}.csv"
        save_artifact(path, lambda p: frame.to_csv(p, index=False), **made)

    tags = done[done.stage == "tag"]
    tags = tags.assign(result=[r["runs"] for r in tags.result])
    save("rescaling_paths", pd.concat([wide(done[done.stage.isin(PARTS)]), wide(tags)], ignore_index=True))
    cues = done[done.stage == "tag"]
    save("rescaling_cues", pd.DataFrame([row for r in cues.result for row in r["cues"]]))
    save("rescaling_neutrals", candidates.assign(chosen=candidates.neutral == candidates.template.map(chosen)))
    for stage, name in (("streams", "streams"), ("kin", "kinship"), ("texts", "path_texts")):
        rows = [row for r in done[done.stage == stage].result for row in r]
        save(f"rescaling_{name}", pd.DataFrame(rows))


if __name__ == "__main__":
    from recipes import rescaling_paths  # under its own name, so that worker processes can import what they are sent

    rescaling_paths.main()
