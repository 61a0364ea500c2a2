"""The page of benchmarks shows what lies in the logs, and says what was not measured."""

import json
import re

import pytest
import speed

from benchmarks import costs, headlines

KNOWN = {
    "results": {
        "date": "2030-01-02",
        "machine": "a machine",
        "training": {
            "topk": {
                "contenders": {
                    "here": {"tokens_per_second": 60.0, "seconds_per_step": [1.0, 2.0]},
                    "SAELens": {"tokens_per_second": 10.0, "seconds_per_step": [6.0, 7.0]},
                    "sparsify bf16": {"tokens_per_second": 20.0, "seconds_per_step": [3.0, 7.0]},
                }
            }
        },
    },
    "geometry": {"date": "2030-01-02", "machine": "a machine", "seconds": {"gemm": 4.0, "here": 2.0}},
}
COSTS = {
    "date": "2030-01-02",
    "machine": "a machine",
    "larger": costs.LARGER,
    "layers": {"4": 4e-4, "8": 8e-4},
    "width": {"2304": 1e-5, "4608": 2e-5},
    "d_model": {"288": 1e-5, "576": 2e-5},
    "features": {"2304": 1e-5, "9216": 2e-5},
    "slopes": {"layers": 1.0, "width": 1.0, "d_model": 1.0, "features": 0.5},
}


def test_a_line_holds_the_fastest_peer_and_the_range_between_turns():
    topk, cosines, *rest = headlines.headlines(KNOWN)
    assert (topk.what, topk.peer, topk.ratio, topk.spread) == ("training: topk", "sparsify bf16", 3.0, (3.0, 3.5))
    assert topk.reached and cosines.ratio == 2.0 and cosines.spread is None
    assert rest and all(line.ratio is None and line.reached is None for line in rest)
    none = headlines.headlines({})
    assert all(line.ratio is None for line in none) and len(none) == len({line.what for line in none}) >= 10
    text = headlines.table([topk, none[-1]])
    assert "| **3.0** | 3.0 to 3.5 | 3.0 |" in text and "| not measured here |" in text
    assert len(headlines.short(headlines.headlines(KNOWN)).splitlines()) <= 8


def test_a_card_that_was_measured_has_its_lines_and_a_peer_that_failed_none():
    race = {"here": {"tokens_per_second": 30.0, "seconds_per_step": [1.0]}, "sparsify": {"error": "no"}}
    known = {"date": "2030-01-02", "machine": "a machine", "race": {"topk": race, "gated": dict(race)}}
    known["race"]["gated"]["SAELens"] = {"tokens_per_second": 20.0, "seconds_per_step": [1.5]}
    known["cosines"] = {"seconds": {"here": 1.0, "product": 5.0}}
    lines = {line.what.split(": ")[-1]: line for line in headlines.headlines({"gpu": known}) if line.log == "gpu"}
    assert lines["topk"].ratio is None and lines["gated"].ratio == 1.5 and lines["gated"].peer == "SAELens"
    assert next(line.ratio for name, line in lines.items() if "cosines" in name) == 5.0


def test_the_scale_doubles_with_every_step():
    steps = [speed.place(2.0**i) for i in range(-2, 6)]
    assert steps[0] == 0 and steps[-1] == 100
    assert {round(b - a, 6) for a, b in zip(steps, steps[1:], strict=False)} == {round(100 / 7, 6)}
    assert speed.place(0.01) == 0 and speed.place(1e6) == 100


def test_a_hundred_times_follows_from_the_slope_and_larger_jobs_from_the_rates():
    rows = {row[0]: row[1] for row in speed.costs(COSTS)}
    assert rows["the tokens"] == "100" and rows["the latents of a dictionary"] == "100"
    assert rows["the features described"] == "10"
    ours, *theirs = speed.larger(COSTS)
    assert ours[1:] == ["50 minutes", "40 seconds", "51 minutes"]  # 2e6 · 15 · 1e-4 s; 2e6 · 2e-5 s
    assert len(theirs) == 2 and all(re.fullmatch("[0-9,.]+ (days?|years?)", cell) for row in theirs for cell in row[1:])
    assert [speed.duration(s) for s in (5, 60, 120, 5400, 20 * 3600, 2 * 86400, 800 * 86400)] == [
        "5 seconds", "1 minute", "2 minutes", "1.5 hours", "20 hours", "2 days", "2.2 years",
    ]  # fmt: skip


def test_a_slope_is_that_of_a_power():
    assert costs.slope({2: 2**1.5, 4: 4**1.5, 64: 64**1.5}) == pytest.approx(1.5)


def test_the_page_has_a_bar_for_every_ratio_and_words_for_every_line(browser, address):
    tab = browser.new_page()
    tab.goto(f"{address}/book/speed.html")
    lines = headlines.headlines(headlines.logs())
    measured = [line for line in lines if line.ratio is not None]
    assert tab.locator(".speed-bars tbody tr").count() == len(lines) and measured
    assert tab.locator(".speed-bars .bar").count() == len(measured)
    words = tab.locator(".speed-bars tbody td:last-child").all_inner_texts()
    assert [w for w in words if not w.startswith("not measured")] == [
        f"{line.ratio:.1f} times\naimed at {line.aim:.1f}" for line in measured
    ]
    assert tab.locator(".measured table").count() >= len(headlines.logs()) - ("gpu" in headlines.logs())


def test_the_readme_has_six_of_the_lines():
    text = (speed.chapters.ROOT / "README.md").read_text(encoding="utf-8")
    part = re.search("<!-- bench -->\n(.*?)<!-- /bench -->", text, re.DOTALL)[1]
    assert part.strip() == headlines.short(headlines.headlines(headlines.logs()))
    assert len(part.strip().splitlines()) == 8


def test_shipped_logs_are_json_with_a_day_and_a_machine():
    for name, log in headlines.logs().items():
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", log["date"]) and log["machine"], name
        json.dumps(log)


def test_powers_of_ten_are_written_as_one_reads_them():
    assert speed.plain("| 2.7e+06 | 1e-07 | 0e+00 of it |") == r"| $2.7\cdot10^{6}$ | $10^{-7}$ | 0 of it |"
    assert speed.plain("47–85, 15,129 †, 2026-11-25") == "47\u2060–\u206085, 15,129\xa0†, 2026-11-25"
