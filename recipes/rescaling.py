"""Chapter 4's grid: what a model makes of a word whose embedding is rescaled, and tests of the two-head explanation.

    python -m recipes rescaling [--reduced] [--model NAME …] [--bos] [--until MINUTES] [--scheduler tcp://…]

For each model: find A1 and A2 on the discovery words (`helpers.two_heads`), freeze them, then measure every
intervention on the test words (`recipes.rescaling_tests`), the dose-response on all words, and write texts. Each word
is asked for with one of the three templates, in turn, so that all words and all templates are used. By default both
embedded models; any other name that `load_lm` takes works too (`--bos` puts the tokenizer's first token in front), with
the words that are one token there.

Writes `rescaling_curves.csv` (a row a word, centre and scale), `rescaling_tests.csv` (a row a word and intervention),
`rescaling_heads.csv` (a row a head) and `rescaling_texts.json`. Finished points are kept in the cache, so that it can
be killed and goes on where it stopped; `--until` begins no new point after so long.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import pandas as pd
import torch

from helpers.definitions import FAR, TEMPLATES, centroid, definition_run, divergence, find_heads, key_input, write
from helpers.runs import cache_dir, save_artifact, sweep

from .command import options
from .rescaling_tests import Bench, model, tag, test, words_of

MODELS = {"smollm2-135m": False, "gemma3-270m": True}  # name: whether its first token goes in front
ORIGIN = (0.0, 0.001, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
CENTROID = (0.0, 0.1, 10.0, 100.0)
SCORED = (1.0, 100.0)
WRITTEN = (0.0, 0.1, 1.0, 10.0, 100.0, 1000.0)


def discover(name: str, bos: bool, reduced: bool) -> dict:
    """A1 and A2 of one model, from the discovery words."""
    begun, lm = time.process_time(), model(name)
    cases = [(TEMPLATES[k], words) for k, words in words_of(lm, "discovery", bos, reduced)]
    table = find_heads(lm, cases, bos=bos).astype({"to_word": float})
    return {"heads": json.loads(table.round(5).to_json(orient="records")), "seconds": time.process_time() - begun}


def curve(name: str, bos: bool, k: int, words: list[str], heads: list[dict]) -> dict:
    """Dose-response of the words of one template around the origin and the centroid, with A2's shares and scores.

    `share` is the part of the stream's length before the first A2's layer that is not the embedding, `tag` its cosine
    with the tag vector, `score` the first A2's score for the word before the softmax; `score_without_…` the same with
    that part taken out of its key.
    """
    begun, b = time.process_time(), Bench(name, bos, k, words, heads)
    (layer, head), middle = b.a2[0], centroid(b.lm)
    tags = tag(b, bos, k, [layer])[layer]
    stream, scores = f"blocks.{layer}.hook_in", f"blocks.{layer}.attn.hook_attn_scores"
    record = b.watch | {stream: b.slot, scores: b.end}
    runs = {("origin", s): b.run(s, record=record) for s in ORIGIN}
    runs |= {("centroid", s): b.run(s, record=record, centre=middle) for s in CENTROID}
    noise = b.noise(b.e, 2)
    runs |= {("random", s): b.run(s, record=record, embedding=noise) for s in (FAR,)}
    b.own, rows = runs["origin", 1.0].logp, []
    for (centre, s), run in runs.items():
        moved = {"origin": s * b.e, "random": s * noise, "centroid": middle + s * (b.e - middle)}[centre]
        x = run.seen[stream]
        columns = {
            "apart_zero": divergence(run.logp, runs["origin", 0.0].logp),
            "apart_end": divergence(run.logp, runs["origin", max(ORIGIN)].logp),
            "share": (x - moved).norm(dim=-1) / x.norm(dim=-1),
            "tag": (x @ tags[0]) / (x.norm(dim=-1) * tags[0].norm()),
            "score": run.seen[scores][:, head, b.slot],
        }
        if centre == "origin" and s in SCORED:
            for part, vector in (("tag", -tags), ("embedding", -moved)):
                until = layer + 1 if layer + 1 < b.lm.cfg.n_layers else None
                cut = definition_run(
                    b.lm, b.p, s, interventions=[key_input(b.lm, layer, b.slot, vector)],
                    record={scores: b.end}, until=until,
                )  # fmt: skip
                columns[f"score_without_{part}"] = cut.seen[scores][:, head, b.slot]
        for i, row in enumerate(b.measured(centre, s, run=run)):
            row["centre"] = row.pop("condition")
            rows.append(row | {key: round(float(v[i]), 5) for key, v in columns.items()} | {"template": k})
    return {"rows": rows, "seconds": round(time.process_time() - begun, 1)}


def texts(name: str, bos: bool, words: list[str]) -> dict:
    """What the model writes with the first template, at each scale; and the same sampled once."""
    begun, lm = time.process_time(), model(name)
    greedy = {str(s): write(lm, words, s, bos=bos) for s in WRITTEN}
    sampled = {str(s): write(lm, words, s, bos=bos, generator=torch.Generator().manual_seed(4)) for s in (FAR,)}
    return {"words": words, "greedy": greedy, "sampled": sampled, "seconds": round(time.process_time() - begun, 1)}


def work(stage: str, name: str, bos: bool, **point) -> dict:
    """One point of the grid."""
    return {"discover": discover, "test": test, "curve": curve, "texts": texts}[stage](name, bos, **point)


def study(
    name: str, bos: bool, reduced: bool, deadline: float | None, scheduler: str | None
) -> dict[str, pd.DataFrame | dict]:
    """All of one model: heads first, then everything else with them."""
    folder = cache_dir() / "runs"
    points = [{"stage": "discover", "name": name, "bos": bos, "reduced": reduced}]
    found = sweep(work, points, folder=folder, processes=1, scheduler=scheduler, deadline=deadline)
    if found.empty:
        return {}
    heads = pd.DataFrame(found.heads[0])
    roles = heads[heads.role != ""][["layer", "head", "role", "rank"]].to_dict("records")
    lm = model(name)
    points = [
        {"stage": stage, "name": name, "bos": bos, "k": k, "words": words, "heads": roles}
        for stage, split in (("test", "test"), ("curve", "all"))
        for k, words in words_of(lm, split, bos, reduced)
    ]
    written = [w for _, words in words_of(lm, "test", bos, reduced) for w in words[::2]]
    points.append({"stage": "texts", "name": name, "bos": bos, "words": written})
    done = sweep(work, points, folder=folder, processes=1, scheduler=scheduler, deadline=deadline)
    out = {"heads": heads.assign(model=name)}
    for stage, file in (("test", "tests"), ("curve", "curves")):
        rows = [row for r in done[done.stage == stage].itertuples() for row in r.rows]
        out[file] = pd.DataFrame(rows).assign(model=name)
    wrote = done[done.stage == "texts"]
    out["texts"] = {} if wrote.empty else {key: wrote.iloc[0][key] for key in ("greedy", "sampled", "words")}
    out["seconds"] = float(found.seconds.sum() + done.seconds.sum())
    return out


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("rescaling", __doc__, "until", "scheduler", reduced="every sixth word", model=list(MODELS))
    parser.add_argument("--bos", action="store_true", help="put the first token in front, for models not named here")
    args = parser.parse_args(argv)
    deadline = time.time() + 60 * args.until if args.until else None
    studies = {
        name: study(name, MODELS.get(name, args.bos), args.reduced, deadline, args.scheduler) for name in args.model
    }
    studies = {name: s for name, s in studies.items() if s}
    place = "reduced/" * args.reduced
    seconds = round(sum(s["seconds"] for s in studies.values()))
    made = {"recipe": "python -m recipes.rescaling", "seed": 0, "seconds": seconds}
    for part in ("heads", "tests", "curves"):
        table = pd.concat([s[part] for s in studies.values()], ignore_index=True)
        save_artifact(f"{place}rescaling_{part}.csv", lambda path, t=table: t.to_csv(path, index=False), **made)
    said = {name: s["texts"] for name, s in studies.items()}
    save_artifact(f"{place}rescaling_texts.json", lambda p: p.write_text(json.dumps(said, indent=1) + "\n"), **made)


if __name__ == "__main__":
    from recipes import rescaling  # under its own name, so that worker processes can import what they are sent

    rescaling.main()
