// What every part of a page uses: marks that can be read by pointing or by keyboard, tables to sort, text to copy, and a
// table of contents that knows where the reader is.
{
  // Marks: the bars, dots and cells of a drawing that say what they are. One bubble serves all of them.
  const bubble = document.createElement("div");
  bubble.className = "bubble";
  bubble.setAttribute("role", "status");
  bubble.hidden = true;
  document.body.append(bubble);
  let pointed = null;
  const point = (mark, text) => {
    pointed?.classList.remove("pointed");
    pointed = mark;
    bubble.hidden = mark === null;
    if (mark === null) return;
    mark.classList.add("pointed");
    bubble.textContent = text;
    const at = mark.getBoundingClientRect(), own = bubble.getBoundingClientRect(), edge = 8;
    const left = at.left + at.width / 2 - own.width / 2, above = at.top - own.height - edge;
    const most = document.documentElement.clientWidth - own.width - edge;
    bubble.style.left = Math.max(edge, Math.min(left, most)) + "px";
    bubble.style.top = (above < edge ? at.bottom + edge : above) + "px";
  };
  addEventListener("scroll", () => point(null), { passive: true, capture: true });

  for (const drawing of document.querySelectorAll("svg.chart:not(.curve), [data-marks]")) {
    const marks = [];
    for (const title of drawing.querySelectorAll("title")) {
      if (title.parentNode === drawing) continue;
      marks.push([title.parentNode, title.textContent]);
      title.remove(); // the bubble says it sooner than the browser would
    }
    for (const mark of drawing.querySelectorAll("[data-tip]")) marks.push([mark, mark.dataset.tip]);
    if (!marks.length) continue;
    let place = -1;
    const show = (index) => {
      place = index;
      point(...marks[index]);
    };
    marks.forEach(([mark], index) => {
      mark.addEventListener("pointerenter", () => show(index));
      mark.addEventListener("pointerleave", () => point(null));
      mark.addEventListener("click", () => show(index)); // a finger
    });
    drawing.setAttribute("tabindex", "0");
    drawing.addEventListener("blur", () => point(null));
    drawing.addEventListener("keydown", (event) => {
      const last = marks.length - 1;
      const next = { ArrowRight: place + 1, ArrowDown: place + 1, ArrowLeft: place - 1, ArrowUp: place - 1, Home: 0, End: last }[event.key];
      if (event.key === "Escape") point(null);
      else if (next === undefined) return;
      else show(Math.min(last, Math.max(0, next)));
      event.preventDefault();
    });
  }

  // Tables: a heading that is pressed sorts by its column, pressed again the other way round.
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = cell.textContent;
      cell.replaceChildren(button);
      button.addEventListener("click", () => {
        const rising = cell.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", rising ? "ascending" : "descending");
        const rows = [...body.rows].map((row) => [row.cells[column]?.dataset.key, row]);
        rows.sort(([one], [two]) => {
          if (one === undefined || two === undefined) return (one === undefined) - (two === undefined);
          const order = isNaN(one) || isNaN(two) ? one.localeCompare(two) : one - two;
          return rising ? order : -order;
        });
        body.append(...rows.map(([, row]) => row));
      });
    });
  }

  // Text to copy: a command, or a table as lines of two columns.
  const put = async (text) => {
    if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    if (!done) throw new Error("copying is not allowed here");
  };
  for (const element of document.querySelectorAll("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    const said = element.dataset.copy === "table" ? "the table " + element.getAttribute("aria-label") : element.textContent;
    button.setAttribute("aria-label", "Copy " + said);
    const text = () => element.dataset.copy !== "table" ? element.textContent
      : [...element.querySelectorAll("tr")].map((row) => [...row.cells].map((cell) => cell.textContent).join("\t")).join("\n");
    button.addEventListener("click", async () => {
      try {
        await put(text());
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(element);
        button.textContent = "Press Ctrl+C";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1600);
    });
    element.after(button);
  }

  // The table of contents marks the section that stands at the top of the window.
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const parts = [...document.querySelectorAll("main > section")];
  let current = null;
  const mark = () => {
    const line = innerHeight * 0.3;
    const part = parts.findLast((each) => each.getBoundingClientRect().top < line);
    const link = part && links.get(part.id);
    if (link === current) return;
    current?.removeAttribute("aria-current");
    current = link ?? null;
    if (!current) return;
    current.setAttribute("aria-current", "location");
    const list = current.closest("ol");
    if (list.scrollWidth > list.clientWidth) list.scrollLeft = current.offsetLeft - list.offsetLeft - 24;
  };
  let asked = false;
  addEventListener("scroll", () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; mark(); });
  }, { passive: true });
  mark();
}
