"""The benchmark's results as tables of ratios, for people; the README quotes them."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from helpers.runs import atomic, hardware

FLOOR = 10  # flop per token and weight: five matrix products of 2·d_model·d_sae
PEERS = ("SAELens", "dictionary_learning", "sparsify")

PAGE = """\
Measured {date} on {machine} ({threads} threads, load {load_at_start} at the start).
One run of {minutes:.0f} minutes in which contenders take turns; ratios are of medians.

**Training, tokens/s** (d_model {d_model}, d_sae {d_sae}, batch {batch}, CPU)

| architecture | here | SAELens | dictionary_learning | sparsify | × SAELens | × best peer | loss curve | L0 | of GEMM |
|---|---|---|---|---|---|---|---|---|---|
{training}

Each library in its own training loop and in the faster of its modes (fp32, or bf16 autocast, marked †), from the same
weights (a dictionary trained {steps} steps, {l0} codes an input), on the same activations ({hook} of the
embedded model), Adam at {lr}. *Loss curve*: the largest relative difference of the reconstruction loss from SAELens'
over all steps. *L0*: codes an input here, first and last. *Of GEMM*: tokens/s as a share of the {ceiling:,.0f} that
{floor}·d_model·d_sae flop a token would allow at the
bf16 rate measured in this run ({bf16:,.0f} GFLOP/s; fp32 {fp32:,.0f}). Sparse gradients can pass 100%.

**Memory, MiB** at its highest, the whole process with torch and the batches ({data:,.0f} MiB)

| architecture | here | SAELens | dictionary_learning | sparsify |
|---|---|---|---|---|
{memory}

The activation buffer: {streamed:,} MiB streamed through a buffer of {capacity:,} MiB made memory grow by {grown:,} MiB.

**Activations, tokens/s** ({hook}, fp32; measured {measured})

| here | the same layers in plain transformers | ratio | largest difference |
|---|---|---|---|
| {here:,.0f} | {transformers:,.0f} | **{harvest:.2f}** | {largest_relative_difference:.0e} of the largest |
"""

SUPERPOSITION = """\
**Superposition noise** (chapter 3), measured {date} on {machine}, load {load_at_start} at the start

| what | measured | ratio |
|---|---|---|
{rows}

Threshold readout of random directions, simulated. *Plain numpy* keeps all directions and reads one trial after the
other; *streamed* is `helpers.readout`, which draws them again when it needs them.
They take turns; rates are medians.{busy}
"""
GEOMETRY = """\
**Largest cosines** (chapters 2 and 7), measured {date} on {machine} ({threads} threads), load {load_at_start} at the
start

| what | measured | ratio |
|---|---|---|
{rows}

The 1st, 10th and 100th largest of each row's cosines, exact, fp32. Contenders take turns; times are medians. The
product alone is made in blocks, in one buffer; *sort* and *topk* rank whole rows of it; faiss is its flat index.
Growth: {queries:,} query rows, with the same number of cosines held at a time.
"""
SINGULAR = """\
**Resolution of singularities** (chapter 9), measured {date} on {machine}, load {load_at_start} at the start

| what | measured | ratio |
|---|---|---|
{rows}

All {losses} losses whose λ is known. Here every chart is written out, at every real zero; Singular's `resolve.lib`
resolves the curves over the complex numbers and keeps conjugate points together. They take turns; sums of medians.
λ is also minus the largest root of the Bernstein polynomial, which Singular computes from differential operators.
"""
WHOLE = """\
**A dictionary from nothing**, measured {date} on {machine}, load {load_at_start} at the start

| | loading, s | {tokens:,} tokens, s | 2 M tokens, min | ratio |
|---|---|---|---|---|
{rows}

The embedded model run over its tokens up to layer {layer}, and a TopK dictionary ({d_sae:,} latents, {k} active, batch
{batch}) trained on what comes out, through a shuffling buffer of the same size. SAELens with its own runner. *Here* and
*SAELens* have the model in bfloat16, SAELens the dictionary as well. Each a process of its own, in turns; what 2 M
tokens take is the rate after loading. Of ours the model's products alone take {floor:.0f} s at this machine's best
rate in bfloat16 (what is still in the buffer counted in): no faster training could bring the ratio above {most:.1f}.
"""
DASHBOARD = """\
**Features described** (chapter 8), measured {date} on {machine} ({threads} threads), load {load_at_start} at the start

| what | measured | ratio |
|---|---|---|
{rows}

The first {d_sae:,} features of a dictionary ({hook} of the embedded model, d_model {d_model}), {tokens:,} tokens, fp32,
a fresh process each, in turns; the clock begins when model, dictionary and tokens are in memory. SAEDashboard has its
default layout and keeps activations on disk, so that it runs the model once; its largest activations are the same.
Here more is kept: contexts with no text twice, densities with intervals, neighbours by direction and by co-activation,
whole sentences. Processor seconds are those of all threads; where the machine is shared they tell more than the clock.
The browser holds {features:,} features: this site {sites} times. Sizes are of what is sent, compressed.
"""
BUSY = "\nThe machine was busy with other work, so the two processes did not have two cores to themselves."
LIMIT = 2048  # MiB that a million directions may take
SEARCH = 100  # ms that a search over all features may take
RESIDENT = 1024  # MiB that the cosines of 24,576 rows may take


def stamp() -> dict:
    """When and where a run began, and how busy the machine was."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": hardware(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def keep(results: dict, page: str, folder: Path, name: str) -> None:
    """Write the figures and the page that shows them, and print the page."""
    with atomic(folder / f"{name}.json") as path:
        path.write_text(json.dumps(results, indent=1) + "\n")
    with atomic(folder / f"{name}.md") as path:
        path.write_text(page)
    print(page)


def markdown(results: dict) -> str:
    """Everything that was measured."""
    sizes, gemm, harvest = results["sizes"], results["gemm"], results["harvest"]
    ceiling = gemm["bfloat16"] * 1e9 / (FLOOR * sizes["d_model"] * sizes["d_sae"])
    races = {name: entry["contenders"] for name, entry in results["training"].items()}
    values = {k: v for k, v in results.items() if not isinstance(v, dict)}
    values |= {**sizes, **harvest, **results["buffer"], "steps": results["start"]["steps"]}
    values |= {"minutes": results["seconds"] / 60, "bf16": gemm["bfloat16"], "fp32": gemm["float32"]}
    values |= {"floor": FLOOR, "ceiling": ceiling, "harvest": harvest["here"] / harvest["transformers"]}
    values["training"] = "\n".join(_speed(name, race, ceiling) for name, race in races.items())
    values["memory"] = "\n".join(_memory(name, race) for name, race in races.items())
    return PAGE.format(**values)


def superposition(results: dict) -> str:
    """Speed, memory and scaling of the streaming Monte Carlo."""
    sizes, rows = results["sizes"], []
    for trials, race in results["speed"].items():
        plain, here = race["rate"]["plain"], race["rate"]["here"]
        what = f"n={sizes['n']}, m={sizes['m']:,}, {trials} trials a dictionary; directions × trials/s"
        rows += [(f"{what}: plain numpy", f"{plain:.1e}", ""), ("streamed", f"{here:.1e}", f"**{here / plain:.1f}**")]
        share = race["share_with_an_error"]
        rows.append(
            ("share of trials with an error, plain / streamed", f"{share['plain']:.3f} / {share['here']:.3f}", "")
        )
    large, memory = sizes["large"], results["memory"]
    what = f"peak memory at m={large['m']:,}, n={large['n']:,}, MiB (limit {LIMIT:,})"
    rows.append((what, f"{memory['peak']:,.0f}", f"{memory['peak'] / LIMIT:.2f}"))
    rows.append(("the directions alone, if stored, MiB", f"{memory['stored']:,.0f}", f"{memory['stored'] / LIMIT:.2f}"))
    one, two = results["seconds"]["1"], results["seconds"]["2"]
    rows += [
        ("16 dictionaries, one process, s", f"{one:.1f}", ""),
        ("two processes, s", f"{two:.1f}", f"**{one / two:.2f}**"),
    ]
    values = {k: results[k] for k in ("date", "machine", "load_at_start")}
    busy = BUSY if results["load_at_start"] > 1 else ""
    return SUPERPOSITION.format(**values, busy=busy, rows="\n".join(f"| {' | '.join(row)} |" for row in rows))


def geometry(results: dict) -> str:
    """Times against the product alone, memory, and growth with the number of rows."""
    sizes, seconds, memory = results["sizes"], results["seconds"], results["memory"]
    rows = [(f"n={sizes['n']:,}, d={sizes['d']}: the product alone, s", f"{seconds['gemm']:.1f}", "1")]
    names = {"here": "here", "faiss": "faiss", "topk": "topk on whole rows", "sort": "sort of whole rows"}
    for name in (name for name in names if name in seconds):
        ratio = f"{seconds[name] / seconds['gemm']:.1f}"
        rows.append((f"{names[name]}, s", f"{seconds[name]:.1f}", f"**{ratio}**" if name == "here" else ratio))
    apart = max(results["largest_difference"].values())
    rows.append(("largest difference from the sort", f"{apart:.0e}", ""))
    own = {name: held["peak"] - held["imports"] for name, held in memory.items() if held}
    for name, label in (("here", "peak memory"), ("faiss", "peak memory of faiss")):
        if memory[name]:
            peak, more = memory[name]["peak"], f"{own[name] / own['here']:.2f}"
            rows.append((f"{label}, MiB (limit {RESIDENT:,})", f"{peak:,.0f}", f"{peak / RESIDENT:.2f}"))
            rows.append(("of this beyond what its imports take, MiB", f"{own[name]:,.0f}", more))
    first = next(iter(results["growth"].values()))
    for n, found in results["growth"].items():
        beyond, before = (f["peak"] - f["stored"] for f in (found, first))
        what = f"memory beyond the rows and their rounded copy, n={int(n):,}, MiB"
        rows.append((what, f"{beyond:,.0f}", f"{beyond / before:.2f}"))
    values = {k: results[k] for k in ("date", "machine", "threads", "load_at_start")} | {"queries": sizes["queries"]}
    return GEOMETRY.format(**values, rows="\n".join(f"| {' | '.join(row)} |" for row in rows))


def singular(results: dict) -> str:
    """Seconds for all losses, of both, and how often the other route agrees."""
    seconds = {name: sum(times.values()) for name, times in results["seconds"].items()}
    slowest = max(results["seconds"]["here"].values())
    rows = [("all, s", f"{seconds['here']:.2f}", "1"), ("the slowest of them, s", f"{slowest:.2f}", "")]
    if "singular" in seconds:
        ratio = seconds["singular"] / seconds["here"]
        rows.append(("Singular's resolve.lib, s", f"{seconds['singular']:.2f}", f"**{ratio:.1f}**"))
    if "bernstein" in results:
        times = results["bernstein"]
        rows.append((f"Bernstein polynomials of {len(times)}, s", f"{sum(times.values()):.1f}", ""))
        rows.append(("of these with the same λ", f"{results['agree']}", f"{results['agree'] / len(times):.0%}"))
    values = {k: results[k] for k in ("date", "machine", "load_at_start", "losses")}
    return SINGULAR.format(**values, rows="\n".join(f"| {' | '.join(row)} |" for row in rows))


def whole(results: dict) -> str:
    """Seconds of each, what two million tokens would take, and ratios to ours."""
    sizes, rows = results["sizes"], []
    rest = {name: median(turn["rest"] for turn in turns) for name, turns in results["seconds"].items()}
    for name, taken in rest.items():
        loading = median(turn["loading"] for turn in results["seconds"][name])
        minutes = taken / sizes["tokens"] * 2e6 / 60
        ratio = "1" if name == "here" else f"**{taken / rest['here']:.1f}**"
        rows.append((name, f"{loading:.0f}", f"{taken:.0f}", f"{minutes:.0f}", ratio))
    values = {k: results[k] for k in ("date", "machine", "load_at_start")} | sizes
    values |= {"floor": results["floor"], "most": rest["SAELens"] / results["floor"]}
    return WHOLE.format(**values, rows="\n".join(f"| {' | '.join(row)} |" for row in rows))


def dashboard(results: dict) -> str:
    """Rates, processor seconds and memory of both; memory as tokens grow; sizes and search of the browser."""
    sizes, race, rows = results["sizes"], results["race"], []
    work = sizes["d_sae"] * sizes["tokens"]

    def middle(name: str, key: str, part: str | None = None) -> float:
        return median((turn[part] if part else turn)[key] for turn in race[name])

    peer = "SAEDashboard" if "SAEDashboard" in race else None
    for what, part in (("collected", None), ("collected and named", "named")):
        seconds = middle("here", "seconds", part)
        ratio = f"**{middle(peer, 'seconds') / seconds:.1f}**" if peer else ""
        rows.append((f"{what}, features × tokens/s", f"{work / seconds:,.0f}", ratio))
        cpu = middle("here", "cpu_seconds", part)
        rows.append((f"{what}, processor s", f"{cpu:,.0f}", f"{middle(peer, 'cpu_seconds') / cpu:.1f}" if peer else ""))
    rows.append(("the model alone, processor s", f"{middle('here', 'cpu_seconds', 'model'):,.0f}", ""))
    if peer:
        rows.append((f"{peer}, features × tokens/s", f"{work / middle(peer, 'seconds'):,.0f}", "1"))
        rows.append((f"{peer}, processor s", f"{middle(peer, 'cpu_seconds'):,.0f}", "1"))
    first = results["growth"]["1"]
    for times, peak in results["growth"].items():
        tokens = int(times) * sizes["tokens"]
        rows.append((f"peak memory, {tokens:,} tokens, MiB", f"{peak:,.0f}", f"{peak / first:.2f}"))
    rows.append(("of it before the first token (model, libraries), MiB", f"{middle('here', 'before'):,.0f}", ""))
    if peer:
        peak = middle(peer, "peak")
        rows.append((f"peak memory of {peer}, MiB", f"{peak:,.0f}", f"{peak / first:.2f}"))
        rows.append(("of it before the first token, MiB", f"{middle(peer, 'before'):,.0f}", ""))
    if "browser" in results:
        rows += _browser(results["browser"])
    values = {k: results[k] for k in ("date", "machine", "threads", "load_at_start")} | sizes
    values |= {"features": 0, "sites": 0} | results.get("browser", {})
    return DASHBOARD.format(**values, rows="\n".join(f"| {' | '.join(row)} |" for row in rows))


def _browser(found: dict) -> list[tuple[str, str, str]]:
    rows = [
        (f"browser, {what}, kB (limit {most})", f"{found[key] / 1000:,.0f}", f"{found[key] / 1000 / most:.2f}")
        for what, key, most in (("first view", "first_view", 250), ("a card more, the largest of 8", "card", 80))
    ]
    rows.append(("browser, the index of all sites, kB", f"{found['indexes'] / 1000:,.0f}", ""))
    for what, key in (("a search", "search"), ("from a key to the list", "typed")):
        slowest, least = (max(map(of, found[key].values())) for of in (median, min))
        name = f"browser, {what}, the slowest of {len(found[key])} queries, ms (limit {SEARCH}): median"
        rows += [
            (name, f"{slowest:.0f}", f"{slowest / SEARCH:.2f}"),
            ("least", f"{least:.0f}", f"{least / SEARCH:.2f}"),
        ]
    return rows


def best(race: dict[str, dict], library: str) -> tuple[str, dict] | None:
    """The faster of a library's modes: its name and what was measured."""
    modes = [(name, entry) for name, entry in race.items() if name.split(" ")[0] == library]
    return max(modes, key=lambda item: item[1]["tokens_per_second"], default=None)


def _speed(name: str, race: dict[str, dict], ceiling: float) -> str:
    mine, peers = race["here"]["tokens_per_second"], {peer: best(race, peer) for peer in PEERS}
    rates = {peer: item[1]["tokens_per_second"] for peer, item in peers.items() if item}
    cells = [f"{rates[p]:,.0f}{' †' * peers[p][0].endswith('bf16')}" if p in rates else "–" for p in PEERS]
    gap = peers["SAELens"][1]["largest_relative_difference"]
    l0 = "–".join(f"{race['here']['l0'][i]:.0f}" for i in (0, -1))
    ratios = f"**{mine / rates['SAELens']:.1f}** | {mine / max(rates.values()):.1f}"
    return f"| {name} | {mine:,.0f} | {' | '.join(cells)} | {ratios} | ±{gap:.1%} | {l0} | {mine / ceiling:.0%} |"


def _memory(name: str, race: dict[str, dict]) -> str:
    peers = [best(race, peer) for peer in PEERS]
    cells = [f"{item[1]['peak']:,}" if item else "–" for item in peers]
    return f"| {name} | {race['here']['peak']:,} | {' | '.join(cells)} |"
