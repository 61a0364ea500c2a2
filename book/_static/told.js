// What stands behind a number, source or term: shown on hover, focus, tap; Escape or leaving hides it.
(() => {
  let shown, before, leaving;
  const on = (name, act) => addEventListener(name, act, { capture: true, passive: name === "scroll" });
  const of = (event) => event.target.closest?.(".told");
  const place = () => {
    if (!shown) return;
    const more = shown.lastElementChild.style, { offsetWidth: w, offsetHeight: h } = shown.lastElementChild;
    const at = shown.firstElementChild.getClientRects()[0];
    more.left = `${Math.max(8, Math.min(at.left, document.documentElement.clientWidth - w - 8))}px`;
    more.top = `${at.bottom + 6 + h < innerHeight ? at.bottom + 6 : at.top - h - 6}px`;
  };
  const show = (told) => {
    clearTimeout(leaving);
    if (told === shown) return;
    shown?.classList.remove("open");
    (shown = told)?.classList.add("open");
    requestAnimationFrame(place); // after the scroll to what got the focus
  };
  on("scroll", place);
  on("pointerover", (e) => e.pointerType === "mouse" && of(e) && show(of(e)));
  on("pointerout", (e) => {
    if (of(e)) leaving = setTimeout(() => shown?.contains(document.activeElement) || show(), 200);
  });
  on("focusin", (e) => show(of(e)));
  on("focusout", () => show());
  on("keydown", (e) => e.key === "Escape" && show());
  on("pointerdown", (e) => ((before = shown), of(e) === shown || show()));
  on("click", (e) => {
    const told = of(e), link = told?.firstElementChild;
    if (!told) return;
    if (!link.contains(e.target)) return link.click();
    if (!e.detail || before === told) return show();
    e.preventDefault(); // the first tap shows, the second goes
    show(told);
  });
  const reveal = () => { // the code of a cell that a link leads to
    const cell = document.getElementById(decodeURIComponent(location.hash.slice(1)))?.closest(".numbers-cell");
    cell?.querySelectorAll("details").forEach((fold) => (fold.open = true));
  };
  on("hashchange", reveal);
  const unfold = new Set(); // on paper nothing is folded but code
  on("beforeprint", () => document.querySelectorAll(".bd-article details:not(.hide, [open])").forEach((fold) => {
    unfold.add(fold);
    fold.open = true;
  }));
  on("afterprint", () => (unfold.forEach((fold) => (fold.open = false)), unfold.clear()));
  reveal();
})();
