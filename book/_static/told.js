// The popover of a number, a term or a source: by pointer, focus or tap; Escape closes. One element serves the page.
addEventListener("DOMContentLoaded", () => {
  const tip = document.createElement("div");
  let owner, open, timer;
  tip.id = "told";
  tip.hidden = true;
  document.body.append(tip);

  const hide = () => { tip.hidden = true; owner = null; };
  const show = (link) => {
    clearTimeout(timer);
    if (owner === link) return;
    owner = link;
    const way = document.createElement("a");
    way.href = link.href;
    way.tabIndex = -1; // the number itself is that link
    way.textContent = link.dataset.way;
    tip.replaceChildren(...document.getElementById(link.getAttribute("aria-describedby")).cloneNode(true).children, way);
    tip.hidden = false;
    const at = link.getClientRects()[0], room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    const below = at.bottom + tip.offsetHeight + 8 < innerHeight;
    tip.style.left = scrollX + Math.max(8, Math.min(at.left, room)) + "px";
    tip.style.top = scrollY + (below ? at.bottom + 2 : at.top - tip.offsetHeight - 2) + "px";
  };
  const near = (event) => event.target.closest?.("a.told, #told");
  const on = (name, act) => document.addEventListener(name, act);

  on("pointerover", (e) => {
    const link = near(e);
    if (e.pointerType === "touch" || !link) return;
    link === tip ? clearTimeout(timer) : show(link);
  });
  on("pointerout", (e) => {
    if (e.pointerType !== "touch" && near(e)) timer = setTimeout(hide, 250);
  });
  on("focusin", (e) => { if (e.target.matches("a.told")) show(e.target); });
  on("focusout", hide);
  on("pointerdown", (e) => { open = owner; if (!near(e)) hide(); });
  on("click", (e) => {
    const link = near(e);
    if (e.pointerType === "touch" && link && link !== tip && open !== link) {
      e.preventDefault(); // the first tap asks, the second goes there
      show(link);
    } else if (e.detail) hide();
  });
  on("keydown", (e) => { if (e.key === "Escape") hide(); });

  const reveal = () => {
    const place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folds = [place?.closest("details"), place?.matches(".cell") && place.querySelector("details")].filter(Boolean);
    for (const fold of folds) fold.open = true;
    if (folds.length) place.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();
});
