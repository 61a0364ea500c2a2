// Sort a table by the column whose head is pressed: a button in each head, by mouse or key; pressed again, the other way.
(() => {
  const table = document.querySelector("table.sortable");
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const value = (row, i) => row.cells[i].textContent.trim();
  const compare = (a, b, way) => {
    if ((a === "–") !== (b === "–")) return a === "–" ? 1 : -1; // what is not known comes last, either way
    const [x, y] = [parseFloat(a), parseFloat(b)];
    return way * (isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y);
  };
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.querySelector("p")?.childNodes ?? head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const way = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
      body.append(...[...body.rows].sort((a, b) => compare(value(a, i), value(b, i), way)));
    });
  });
})();
