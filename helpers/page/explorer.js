(() => {
  const figure = document.currentScript && document.currentScript.closest("figure");
  if (!figure) return;
  const data = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
  const picture = figure.querySelector("img");
  const controls = [...figure.querySelectorAll("input, select")];
  const comma = data.pictures.indexOf(",") + 1;
  const head = data.pictures.slice(0, comma);
  const frames = data.pictures.slice(comma).split("|").map((item) => (item === "^" ? picture.src : item));
  const source = (frame) => {
    const item = frames[frame];
    if (item[0] === "=") return source(+item.slice(1));
    return item.startsWith("data:") ? item : head + item;
  };
  const update = () => {
    let frame = 0;
    for (const control of controls) {
      if (control.options) {
        frame = frame * control.options.length + control.selectedIndex;
        continue;
      }
      const texts = control.dataset.texts.split(" ");
      const text = texts[+control.value];
      frame = frame * texts.length + +control.value;
      control.setAttribute("aria-valuetext", text);
      control.closest("div").querySelector("output").value = text;
    }
    picture.src = source(frame);
    picture.alt = data.alts[frame];
  };
  for (const control of controls) control.addEventListener("input", update);
  figure.querySelector(".explorer-controls").hidden = false;
  update();
})();
