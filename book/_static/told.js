// What stands behind a number, a source or a term: shown on hover, focus and tap; Escape, scrolling or leaving hides it.
(() => {
  const all = document.querySelectorAll(".told");
  let shown = null;
  let leaving = 0;
  const hide = () => {
    if (shown) shown.classList.remove("open");
    shown = null;
  };
  const show = (told) => {
    clearTimeout(leaving);
    if (told === shown) return;
    hide();
    shown = told;
    told.classList.add("open");
    const more = told.querySelector(".told-more");
    const at = told.firstElementChild.getClientRects()[0];
    const room = document.documentElement.clientWidth - more.offsetWidth - 8;
    const below = at.bottom + 6 + more.offsetHeight < innerHeight;
    more.style.left = `${Math.max(8, Math.min(at.left, room))}px`;
    more.style.top = `${below ? at.bottom + 6 : at.top - more.offsetHeight - 6}px`;
  };
  for (const told of all) {
    told.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(told));
    told.addEventListener("pointerleave", () => (leaving = setTimeout(() => told === shown && hide(), 200)));
    told.addEventListener("focusin", () => show(told));
    told.addEventListener("focusout", hide);
    const link = told.firstElementChild;
    let open = false;
    link.addEventListener("pointerdown", () => (open = told === shown));
    link.addEventListener("click", (event) => {
      if (event.detail && !open) {
        event.preventDefault(); // the first tap shows, the second goes
        show(told);
      }
    });
    told.querySelector(".told-more").addEventListener("click", () => link.click());
  }
  addEventListener("keydown", (event) => event.key === "Escape" && hide());
  addEventListener("scroll", hide, { passive: true });
})();
