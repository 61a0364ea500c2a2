// Data comes as scripts that call features.take; whatever it says reaches the page as text, never as markup.
(() => {
  "use strict";
  const pieces = new Map(); // key → {promise, resolve}: data that was asked for
  const $ = (id) => document.getElementById(id);
  let about = null;
  let entries = []; // one a feature whose site's index is here
  let tokens = new Map(); // inverted index: a token in small letters → entries
  let results = [];
  let shown = 0;
  let selected = null; // [site, feature]
  const PAGE = 60;

  // ---- data

  const unpack = async (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };

  globalThis.features = {
    take(key, value) {
      if (key === "about") start(value);
      else if (pieces.has(key)) pieces.get(key).resolve(value);
    },
  };

  const ask = (key) => {
    if (!pieces.has(key)) {
      const piece = {};
      piece.promise = new Promise((resolve, reject) => {
        piece.resolve = (text) => resolve(unpack(text));
        const script = document.createElement("script");
        script.src = `data/${key}.js`;
        script.onerror = () => reject(new Error(`data/${key}.js is missing`));
        script.onload = () => script.remove();
        document.head.append(script);
      });
      piece.promise.catch(() => pieces.delete(key)); // so that it can be asked for again
      pieces.set(key, piece);
    }
    return pieces.get(key).promise;
  };

  // ---- words and numbers

  const node = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null && child !== ""));
    return made;
  };
  const plain = (x, places, sign = false) => {
    const text = x.toFixed(places);
    const zero = !/[1-9]/.test(text);
    return (sign && x > 0 && !zero ? "+" : "") + (zero ? text.replace("-", "") : text.replace("-", "−"));
  };
  const three = (x) => (Math.abs(x) >= 1000 ? Math.round(x).toLocaleString("en") : String(+x.toPrecision(3)));
  const rate = (p) => {
    if (!p) return "0";
    if (p > 0.1) return `${Math.round(100 * p)}%`;
    return `1 in ${Math.round(+(1 / p).toPrecision(3)).toLocaleString("en")}`;
  };
  const title = (name) => name.charAt(0).toUpperCase() + name.slice(1) + (/text/i.test(name) ? "" : " text");
  const level = (a) => Math.ceil((a * 9) / 255);
  const address = (site, id) => `#${encodeURIComponent(about.sites[site].hook)}/${id}`;
  const many = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

  // ---- search

  const failed = [];
  const loading = new Map();
  const load = (site) => {
    if (!loading.has(site)) {
      loading.set(site, ask(`${site}/index`).then((index) => {
        index.label.forEach((label, id) => {
          const own = index.tokens[id] ? index.tokens[id].split("\n") : [];
          const entry = { site, id, label, own };
          for (const key of ["rate", "score", "percentile", "loss"]) entry[key] = index[key] ? index[key][id] : null;
          entry.text = `${label}\n${own.join("\n")}`.toLowerCase();
          entries.push(entry);
          for (const token of new Set(own.map((t) => t.toLowerCase()))) {
            if (!tokens.has(token)) tokens.set(token, []);
            tokens.get(token).push(entry);
          }
        });
      }).catch((error) => { loading.delete(site); if (!failed.includes(error.message)) failed.push(error.message); }));
    }
    return loading.get(site);
  };
  const loadAll = () => Promise.all(about.sites.map((_, site) => load(site))).then(list);

  const SORTS = {
    match: ["Best match", null],
    rare: ["Rarest first", (a, b) => a.rate - b.rate],
    often: ["Most active first", (a, b) => b.rate - a.rate],
    score: ["Best told by words", (a, b) => b.score - a.score],
    loss: ["Costs most without it", (a, b) => b.loss - a.loss],
  };
  const NEEDS = { rare: "rate", often: "rate", score: "score", loss: "loss" };

  const find = (query, site, sort) => {
    const q = query.trim().toLowerCase();
    const here = (entry) => (site === "" || entry.site === +site) && entry.rate > 0;
    let found;
    if (!q) found = entries.filter(here);
    else {
      const number = /^\d+$/.test(q) ? +q : -1;
      const [, hook, id] = /^(.+)\/(\d+)$/.exec(q) || [];
      const exact = new Set(tokens.get(q) || []);
      const names = about.sites.map((one) => one.hook.toLowerCase());
      const [meant, all] = [hook, q].map((part) => names.map((name) => Boolean(part) && name.includes(part)));
      const classes = [[], [], [], [], []];
      for (const entry of entries) {
        if (site !== "" && entry.site !== +site) continue;
        const name = entry.label.toLowerCase();
        if (entry.id === number || (meant[entry.site] && entry.id === +id)) classes[0].push(entry);
        else if (name.replace(/[“”"]/g, "").trim() === q) classes[1].push(entry);
        else if (exact.has(entry)) classes[2].push(entry);
        else if (name.includes(q)) classes[3].push(entry);
        else if (all[entry.site] || entry.text.includes(q)) classes[4].push(entry);
      }
      found = classes.flat();
    }
    const order = SORTS[sort][1];
    if (order) found = found.filter((entry) => entry[NEEDS[sort]] !== null).sort(order);
    return found;
  };

  const list = () => {
    if (view().kind === "sentences") return;
    const held = $("list").contains(document.activeElement) && document.activeElement.getAttribute("href");
    results = find($("query").value, $("site").value, $("sort").value);
    shown = 0;
    $("list").replaceChildren();
    more();
    const loaded = new Set(entries.map((entry) => entry.site)).size;
    const parts = [many(results.length, "feature")];
    if (!$("query").value) parts[0] += " that fire";
    if (loaded < about.sites.length) parts.push(`in ${loaded} of ${many(about.sites.length, "site")} so far`);
    else if (!results.length && $("query").value) parts.push("have that in name, token or site; try a part of it");
    $("status").textContent = [parts.join(" "), ...failed].join(". ");
    if (held) hold(held);
  };

  const hold = (href) => { // a list that grows under a reader's hands keeps the place
    const at = results.findIndex((entry) => address(entry.site, entry.id) === href);
    while (shown <= at) more();
    ($("list").querySelectorAll("a")[Math.max(at, 0)] || $("query")).focus();
  };

  const more = () => {
    for (const entry of results.slice(shown, shown + PAGE)) $("list").append(node("li", {}, row(entry)));
    shown = Math.min(shown + PAGE, results.length);
    $("more").hidden = shown >= results.length;
    mark();
  };

  const row = (entry) => {
    const facts = [];
    if (entry.score !== null) facts.push(`told ${plain(entry.score, 2)}`);
    if (entry.loss !== null) facts.push(`${plain(entry.loss, 2, true)} nats`);
    facts.push(entry.rate ? rate(entry.rate) : "never active");
    const where = `${short(entry.site)} · ${entry.id}`;
    return node("a", { href: address(entry.site, entry.id) },
      node("span", { class: "said" }, entry.label || `Feature ${entry.id}`),
      node("span", { class: "about" }, node("span", {}, where), node("span", {}, facts.join(" · "))));
  };
  const short = (site) => about.sites[site].hook.replace(/^blocks\.(\d+)\./, "$1 ").replace("hook_", "");

  const mark = () => {
    const here = location.hash;
    for (const link of $("list").querySelectorAll("a")) {
      if (link.getAttribute("href") === here) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };

  // ---- a card

  const texts = (part) => {
    const heads = [
      ["Strongest", part.top],
      ["One from each quarter", part.quarters],
      ["At random", part.random],
    ];
    return heads.filter(([, lines]) => lines.length).flatMap(([head, lines]) => [
      node("h4", {}, head),
      node("ol", { class: "lines" }, ...lines.map(line)),
    ]);
  };

  const line = ([value, place, text, heat]) => {
    const made = text.split("\n").map((piece, i) => {
      const a = parseInt(heat.slice(2 * i, 2 * i + 2), 16);
      const said = a ? node("span", { class: "sr" }, ` ${Math.round(a / 2.55)}%`) : null;
      const own = piece.replace(/^ (?=.)/, ""); // the space before a word is not shaded
      return [own === piece ? "" : " ", node("span", { class: `t heat${level(a)}${i === place ? " peak" : ""}` }, own, said)];
    });
    return node("li", {},
      node("span", { class: "left" }, node("span", {}, ...made.slice(0, place).flat())),
      node("span", { class: "right" }, ...made.slice(place).flat()),
      node("span", { class: "value" }, three(value)));
  };

  const fact = (name, number, note) =>
    node("div", {}, node("dt", {}, name), node("dd", {}, node("b", {}, number), node("span", {}, note)));

  const facts = (r) => {
    const made = r.sets.map(({ density: [share, low, high] }, s) => fact(
      `Active, ${title(about.sets[s]).toLowerCase()}`, rate(share),
      low ? `95%: ${rate(low)} to ${rate(high)}` : `95%: at most ${rate(high)}`));
    const [score, percentile] = r.score || [null, null];
    if (score !== null) {
      const beats = percentile === null ? "" : `, above ${Math.round(100 * percentile)}% of matched null features; nameable from 95%`;
      made.push(fact("Told by its words", plain(score, 2), `AUROC on held-out sequences${beats}`));
    }
    if (r.loss && r.loss[0] !== null) {
      const [mean, low, high] = r.loss.map((x) => plain(x, 3, true));
      made.push(fact("Without it", `${mean} nats`, `on the next token; ${low} to ${high}`));
    }
    return node("dl", { class: "facts" }, ...made);
  };

  const histogram = (r) => {
    const all = r.sets.map((part) => part.bins).filter((bins) => bins.length > 1);
    const first = Math.min(...all.map((bins) => bins[0]));
    const last = Math.max(...all.map((bins) => bins[0] + bins.length - 1));
    const step = Math.ceil((last - first) / 24);
    const counts = Array(Math.ceil((last - first) / step)).fill(0);
    for (const [start, ...bins] of all) bins.forEach((n, i) => { counts[Math.floor((start + i - first) / step)] += n; });
    const most = Math.max(...counts);
    const svg = (tag, attributes, ...children) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
      made.append(...children);
      return made;
    };
    const rects = counts.map((n, i) => svg("rect", { x: i + 0.08, width: 0.84, y: 40 - (40 * n) / most, height: (40 * n) / most }));
    const high = Math.min(about.edges[Math.min(first + step * counts.length, about.edges.length - 1)], r.largest);
    const said = `Activations from ${+about.edges[first].toPrecision(2)} to ${+high.toPrecision(2)}, in steps of equal ratio`;
    return node("section", {}, node("h3", {}, "Activations"), node("figure", {},
      svg("svg", { viewBox: `0 0 ${counts.length} 40`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...rects),
      node("figcaption", {}, said)));
  };

  const column = (head, rows) => node("section", {}, node("h3", {}, head),
    node("ul", {}, ...rows.map(([what, value]) => node("li", {}, what, node("span", {}, value)))));

  const card = async (site, id) => {
    const { hook, features, positions, page } = about.sites[site];
    const where = node("p", { class: "where" }, `${hook} · feature ${id}`);
    if (/^https:/.test(page || "")) where.append(" · ", node("a", { href: page.replace("{feature}", id), rel: "noreferrer" }, "public page"));
    const back = node("a", { class: "back", href: "#" }, "← List");
    let r;
    try {
      if (id >= features) throw new Error(`this site has features 0 to ${features - 1}`);
      r = (await ask(`${site}/${Math.floor(id / about.shard)}`))[id % about.shard];
    } catch (error) {
      return [back, where, node("h2", { class: "name" }, "Not here"), node("p", {}, `Feature ${id} cannot be shown: ${error.message}. All else works.`)];
    }
    const live = r.sets.some((part) => part.count);
    const made = [back, where, node("h2", { class: "name" }, r.label || `Feature ${id}`), facts(r)];
    if (!live) {
      const n = positions.reduce((a, b) => a + b, 0);
      made.push(node("p", { class: "note" }, `This feature was never active at the ${n.toLocaleString("en")} places that were looked at.`));
    }
    r.sets.forEach((part, s) => {
      if (part.count) made.push(node("section", {}, node("h3", {}, title(about.sets[s])), ...texts(part)));
    });
    const sides = live ? [histogram(r)] : [];
    for (const [head, key] of [["Raises", "up"], ["Lowers", "down"]]) {
      if (r[key]) sides.push(column(head, r[key].map(([t, v]) => [node("span", { class: "token" }, t), plain(v, 2, true)])));
    }
    for (const [head, key, percent] of [["Nearest by direction", "similar", false], ["Active together", "together", true]]) {
      if (!r[key] || !r[key].length) continue;
      sides.push(column(head, r[key].map(([s, f, v]) => [
        node("a", { href: address(s, f) }, `${short(s)} · ${f}`), percent ? `${Math.round(100 * v)}%` : plain(v, 2)])));
    }
    made.push(node("div", { class: "sides" }, ...sides));
    return made;
  };

  // ---- sentences

  const sentences = () => {
    $("list").replaceChildren(...about.sentences.map(([set, row, text], n) => node("li", {},
      node("a", { href: `#sentences/${n}` }, node("span", { class: "said prose" }, text),
        node("span", { class: "about" }, node("span", {}, title(about.sets[set])), node("span", {}, `row ${row}`))))));
    $("more").hidden = true;
    $("status").textContent = many(about.sentences.length, "sentence");
    mark();
  };

  const sentence = async (n) => {
    const back = node("a", { class: "back", href: "#sentences" }, "← Sentences");
    let data;
    try {
      if (n >= about.sentences.length) throw new Error(`there are ${about.sentences.length}`);
      data = await ask(`sentences/${n}`);
    } catch (error) {
      return [back, node("h2", { class: "name" }, "Not here"), node("p", {}, `Sentence ${n} cannot be shown: ${error.message}. All else works.`)];
    }
    const output = node("div", { class: "strong", "aria-live": "polite" });
    const chosen = $("site").value;
    const sites = chosen === "" ? about.sites.map((_, s) => s) : [+chosen];
    let traced = null; // [site, feature] whose activations are shaded
    const strong = (i) => sites.flatMap((s) => {
      const flat = data.sites[s][i];
      return flat.filter((_, k) => k % 2 === 0).map((f, k) => [s, f, flat[2 * k + 1]]);
    }).sort((a, b) => b[2] - a[2]).slice(0, 24);
    const buttons = data.pieces.map((text, i) =>
      node("button", { type: "button", tabindex: i ? "-1" : "0", "aria-pressed": "false", "data-at": i }, text));
    const shade = () => buttons.forEach((button, i) => {
      const flat = traced ? data.sites[traced[0]][i] : [];
      const k = traced ? flat.findIndex((f, j) => j % 2 === 0 && f === traced[1]) : -1;
      const a = k < 0 ? 0 : flat[k + 1];
      button.className = a ? `t heat${level(a * 2.55)}` : "";
      button.replaceChildren(data.pieces[i], ...(a ? [node("span", { class: "sr" }, ` ${a}%`)] : []));
    });
    const bar = (a) => {
      const inner = node("span");
      inner.style.width = `${a}%`;
      return node("span", { class: "bar", "aria-hidden": "true" }, inner);
    };
    let at = 0;
    const choose = (i) => {
      at = i;
      buttons.forEach((button, j) => { button.setAttribute("aria-pressed", String(i === j)); button.tabIndex = i === j ? 0 : -1; });
      const rows = strong(i);
      const head = node("h3", {}, "At “", node("span", { class: "token" }, data.pieces[i].trim() || " "), "”");
      if (!rows.length) return output.replaceChildren(head, node("p", { class: "note" }, "No feature is active at this token."));
      output.replaceChildren(head, node("ul", {}, ...rows.map(([s, f, a]) => {
        const known = entries.find((entry) => entry.site === s && entry.id === f);
        const link = node("a", { href: address(s, f) }, (known && known.label) || `Feature ${f}`);
        const trace = () => { traced = [s, f]; shade(); };
        link.addEventListener("focus", trace);
        link.addEventListener("mouseenter", trace);
        return node("li", {}, link, node("span", { class: "about" }, `${short(s)} · ${f}`),
          bar(a), node("span", {}, `${a}%`));
      })));
    };
    const prose = node("p", { class: "prose-tokens", role: "group", "aria-label": "The sentence, a button for each token" }, ...buttons);
    prose.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) choose(+button.dataset.at);
    });
    prose.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const to = step && buttons[+document.activeElement.dataset.at + step];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      if (to) { to.focus(); choose(+to.dataset.at); }
    });
    choose(Math.max(0, data.pieces.findIndex((_, i) => strong(i).length)));
    Promise.all(sites.map(load)).then(() => { if (!output.contains(document.activeElement)) choose(at); }); // with names
    const [set, row] = about.sentences[n];
    return [back, node("p", { class: "where" }, `${title(about.sets[set])} · row ${row}`),
      node("h2", { class: "name" }, "Token by token"),
      node("p", { class: "note" }, "Choose a token to see which features are strong there; point at a feature to see where else it is."), prose, output];
  };

  // ---- the page

  const view = () => {
    const raw = location.hash.slice(1);
    if (raw === "sentences" || raw.startsWith("sentences/")) return { kind: "sentences", n: raw.includes("/") ? parseInt(raw.slice(10), 10) : -1 };
    const cut = raw.lastIndexOf("/");
    let hook = cut < 0 ? raw : raw.slice(0, cut);
    try { hook = decodeURIComponent(hook); } catch { /* as it stands */ }
    const site = about.sites.findIndex((s) => s.hook === hook);
    const id = cut < 0 ? NaN : Number(raw.slice(cut + 1));
    return { kind: "features", site, id: Number.isInteger(id) && id >= 0 ? id : -1, unknown: raw && site < 0 ? hook : "" };
  };

  let turn = 0;
  const show = async (focus) => {
    const mine = ++turn;
    const now = view();
    const listed = now.kind === "sentences";
    $("to-sentences").toggleAttribute("aria-current", listed);
    $("to-features").toggleAttribute("aria-current", !listed);
    $("query").disabled = $("sort").disabled = listed;
    let made = null;
    selected = null;
    if (listed) {
      sentences();
      if (now.n >= 0) { await load($("site").value === "" ? 0 : +$("site").value); made = await sentence(now.n); }
    } else {
      if (now.site >= 0 && now.id >= 0) {
        selected = [now.site, now.id];
        made = await card(now.site, now.id);
      } else if (now.unknown) made = [node("h2", { class: "name" }, "Not here"), node("p", {}, `There is no site “${now.unknown}”.`)];
      await load(now.site >= 0 ? now.site : +$("site").value);
      if (mine === turn && !$("list").querySelector('a:not([href^="#sentences"])')) list();
    }
    if (mine !== turn) return;
    document.body.dataset.view = made ? "card" : "list";
    const hello = [node("h2", { class: "name" }, listed ? "Choose a sentence" : "Choose a feature"),
      node("p", { class: "note" }, summary()), listed ? null : node("p", { class: "note" }, KEY)].filter(Boolean);
    $("card").replaceChildren(...(made || hello));
    document.title = made ? `${$("card").querySelector("h2").textContent} · ${about.title}` : about.title;
    mark();
    if (focus && made) { $("card").focus({ preventScroll: true }); window.scrollTo(0, 0); }
  };

  const summary = () => {
    const [all, live] = ["features", "live"].map((key) => about.sites.reduce((n, site) => n + site[key], 0));
    return `${many(live, "feature")} that fire, of ${all.toLocaleString("en")}, at ${many(about.sites.length, "site")} of the model.`;
  };
  const KEY = "A name is the words that tell a feature’s places from others. Told says how well they do on sequences that were held out; 0.5 is chance. Nats are what the next token costs more without the feature. One in so many is how often it is active.";

  const theme = () => {
    let wish = null;
    try { wish = parent !== window && parent.document.documentElement.dataset.theme; } catch { /* another site's page */ }
    try { wish = wish || localStorage.getItem("mode"); } catch { /* none kept */ }
    const dark = matchMedia("(prefers-color-scheme: dark)");
    document.documentElement.dataset.theme = wish === "dark" || wish === "light" ? wish : dark.matches ? "dark" : "light";
    dark.onchange = theme;
  };

  const step = (links, by) => {
    const at = links.indexOf(document.activeElement);
    const to = links[Math.min(Math.max(at + by, 0), links.length - 1)];
    if (to) to.focus();
  };

  const keys = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    const links = [...$("list").querySelectorAll("a")];
    if (event.key === "/" && event.target !== $("query")) {
      event.preventDefault();
      if (view().kind === "sentences") location.hash = "";
      document.body.dataset.view = "list";
      $("query").disabled = false;
      $("query").focus();
      $("query").select();
    } else if (event.key === "Escape") {
      if (event.target === $("query") && $("query").value) { $("query").value = ""; list(); }
      else if ($("card").contains(document.activeElement) || document.activeElement === document.body) {
        document.body.dataset.view = "list";
        (links.find((link) => link.hasAttribute("aria-current")) || links[0] || $("query")).focus();
      } else if (links.includes(document.activeElement)) $("query").focus();
    } else if (/^Arrow(Up|Down)$/.test(event.key) && $("finder").contains(event.target) && event.target.tagName !== "SELECT") {
      event.preventDefault();
      if (event.key === "ArrowUp" && event.target === links[0]) $("query").focus();
      else step(links, event.key === "ArrowDown" ? 1 : -1);
    } else if (/^Arrow(Left|Right)$/.test(event.key) && !typing && selected) {
      const at = results.findIndex((entry) => entry.site === selected[0] && entry.id === selected[1]);
      const to = results[at + (event.key === "ArrowRight" ? 1 : -1)];
      if (to) { event.preventDefault(); selected = [to.site, to.id]; location.hash = address(to.site, to.id); }
    }
  };

  const start = (value) => {
    about = value;
    theme();
    const option = (name, text) => node("option", { value: name }, text);
    $("site").append(option("", "All"), ...about.sites.map((site, i) => option(i, site.hook)));
    $("sort").append(...Object.entries(SORTS).map(([name, [text]]) => option(name, text)));
    let waiting = 0;
    $("query").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(list, 20); });
    $("query").addEventListener("focus", loadAll, { once: true });
    $("site").addEventListener("change", async () => {
      await ($("site").value === "" ? loadAll() : load(+$("site").value));
      if (view().kind === "sentences") show(false);
      else list();
    });
    $("sort").addEventListener("change", loadAll);
    $("more").addEventListener("click", () => {
      const next = shown;
      more();
      $("list").querySelectorAll("a")[next]?.focus();
    });
    document.addEventListener("keydown", keys);
    window.addEventListener("hashchange", () => show(true));
    features.find = find; // for tests and the curious: features.find("the", "", "match")
    show(false);
  };
})();
