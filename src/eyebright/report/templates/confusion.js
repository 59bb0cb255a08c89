// The confusion matrix: sorted, normalised, zoomed into, read by pointing or by keyboard, and clicked to see the images of
// a cell. It is drawn in pixels of the screen, so that names and numbers have the same size on every screen.
for (const tool of document.querySelectorAll("[data-confusion]")) {
  const data = JSON.parse(tool.dataset.confusion), names = data.classes, size = names.length;
  const drawing = tool.querySelector("[data-drawing]"), panel = tool.querySelector("[data-cell]");
  const readout = tool.querySelector("[data-readout]"), controls = tool.querySelector("[data-tools]");
  const order = controls.querySelector("[data-order]"), share = controls.querySelector("[data-share]");
  const zooms = Object.fromEntries([...controls.querySelectorAll("[data-zoom]")].map((button) => [button.dataset.zoom, button]));
  const cells = [], rows = new Array(size).fill(0), columns = new Array(size).fill(0), counts = new Map();
  for (let at = 0; at < data.cells.length; at += 3) {
    const [row, column, count] = data.cells.slice(at, at + 3);
    cells.push({ row, column, count });
    counts.set(row * size + column, count);
    rows[row] += count;
    columns[column] += count;
  }
  const most = Math.max(1, ...cells.map((cell) => cell.count));
  const percent = (value) => (100 * value).toFixed(value > 0 && value < 0.0995 ? 1 : 0);
  const fewest = Math.min(size, 5), letter = 6.6;
  let sorted = data.orders[data.first], places = [], view, cursor = null, chosen = null, frame = null, width = 0;

  const make = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const svg = make("svg", { class: "chart matrix-drawing", role: "application", tabindex: 0, "aria-roledescription": "confusion matrix",
    "aria-label": "Confusion matrix: true classes in rows, predicted classes in columns. Arrow keys move, Enter shows the images of a cell." });
  const shareOf = ({ row, column, count }) => share.value === "row" ? count / rows[row]
    : share.value === "column" ? count / columns[column] : count / most;
  const count = (row, column) => counts.get(row * size + column) ?? 0;

  // Ten strengths, without the middle ones on which neither light nor dark numbers could be read.
  const strength = (cell) => {
    const value = shareOf(cell), felt = cell.row === cell.column ? value : Math.sqrt(value);
    const level = Math.max(1, Math.ceil(felt * 10));
    return level <= 6 ? 0.07 * level : 0.86 + 0.035 * (level - 6);
  };

  const draw = () => {
    const across = drawing.clientWidth;
    if (!across) return;
    const span = view.size, shown = sorted.slice(view.row, view.row + span), over = sorted.slice(view.column, view.column + span);
    const longest = (list) => Math.max(...list.map((place) => names[place].length));
    const most = Math.min(across * 0.3, 150), named = (across - most) / span >= 12;
    const left = named ? Math.min(most, 14 + letter * longest(shown)) : 22;
    const side = Math.min(across - left - 2, Math.max(220, span * 64), 640), each = side / span;
    const upright = named && each < letter * longest(over) + 4;
    const top = !named ? 22 : upright ? Math.min(110, 14 + letter * longest(over)) : 26;
    frame = { left, top, each, span };
    const letters = Math.floor((left - 12) / letter), lettersOver = upright ? Math.floor((top - 12) / letter) : Math.floor(each / letter);
    const short = (name, number) => name.length <= number ? name : name.slice(0, Math.max(1, number - 1)) + "…";
    const parts = [make("rect", { class: "sheet", x: left, y: top, width: side, height: side, rx: each > 14 ? 6 : 0 })];
    const seen = cells.filter(({ row, column }) => places[row] >= view.row && places[row] < view.row + span
      && places[column] >= view.column && places[column] < view.column + span);
    const gap = each > 14 ? 1 : 0, paths = new Map(), numbers = [];
    for (const cell of seen) {
      const x = left + (places[cell.column] - view.column) * each, y = top + (places[cell.row] - view.row) * each;
      const solid = strength(cell), style = (cell.row === cell.column ? "fill-accent" : "fill-wrong") + "|" + solid.toFixed(3);
      if (!paths.has(style)) paths.set(style, []);
      const inner = (each - 2 * gap).toFixed(2);
      paths.get(style).push(`M${(x + gap).toFixed(2)} ${(y + gap).toFixed(2)}h${inner}v${inner}h-${inner}z`);
      const text = share.value === "count" ? String(cell.count) : percent(shareOf(cell));
      if (each >= 14 && text.length * letter < each - 2)
        numbers.push(make("text", { class: solid > 0.5 ? "number strong" : "number", x: x + each / 2, y: y + each / 2 + 4, "text-anchor": "middle" }, text));
    }
    for (const [style, found] of paths) {
      const [class_, opacity] = style.split("|");
      parts.push(make("path", { class: class_, "fill-opacity": opacity, d: found.join("") }));
    }
    parts.push(...numbers);
    if (named) {
      shown.forEach((place, index) => {
        const text = make("text", { x: left - 8, y: top + (index + 0.5) * each + 4, "text-anchor": "end" }, short(names[place], letters));
        text.append(make("title", {}, names[place]));
        parts.push(text);
      });
      over.forEach((place, index) => {
        const x = left + (index + 0.5) * each;
        const turned = upright ? { x: x + 4, y: top - 8, "text-anchor": "start", transform: `rotate(-90 ${x + 4} ${top - 8})` } : { x, y: top - 9, "text-anchor": "middle" };
        const text = make("text", turned, short(names[place], lettersOver));
        text.append(make("title", {}, names[place]));
        parts.push(text);
      });
      parts.push(make("text", { x: left - 8, y: top - 9, "text-anchor": "end" }, "true ↓"));
    } else {
      parts.push(make("text", { x: left, y: top - 8, "text-anchor": "start" }, "predicted →"));
      parts.push(make("text", { x: left - 8, y: top, "text-anchor": "end", transform: `rotate(-90 ${left - 8} ${top})` }, "← true"));
    }
    const [marked, picked, dragged] = ["marked-cell", "chosen-cell", "select"].map((class_) => make("rect", { class: class_, width: 0, height: 0 }));
    parts.push(picked, marked, dragged);
    svg.replaceChildren(...parts);
    Object.assign(frame, { marked, picked, dragged });
    const [wide, tall] = [left + side + 2, top + side + 2];
    svg.setAttribute("viewBox", `0 0 ${wide} ${tall}`);
    svg.style.width = wide + "px";
    point(cursor);
    outline(picked, chosen);
    zooms.in.disabled = span <= fewest;
    zooms.out.disabled = zooms.all.disabled = span === size;
  };

  const outline = (rect, cell) => {
    const [row, column] = cell ? [places[cell.row] - view.row, places[cell.column] - view.column] : [-1, -1];
    const inside = row >= 0 && column >= 0 && row < frame.span && column < frame.span;
    const at = { x: frame.left + column * frame.each, y: frame.top + row * frame.each, width: frame.each, height: frame.each };
    for (const [key, value] of Object.entries(at)) rect.setAttribute(key, inside ? value : 0);
  };
  const point = (cell) => {
    if (!frame) return;
    outline(frame.marked, cell);
    readout.textContent = cell ? words(cell.row, cell.column) : "";
  };
  const words = (row, column) => {
    const number = count(row, column), images = number === 1 ? "image" : "images";
    const found = `${number} ${images} of ${names[row]} ${row === column ? "named right" : `taken for ${names[column]}`}`;
    const shares = [rows[row] ? `${percent(number / rows[row])} % of the true class` : "", columns[column] ? `${percent(number / columns[column])} % of the predicted class` : ""];
    return `${found}: ${shares.filter(Boolean).join(", ")}`;
  };

  const look = (size_, row, column) => {
    const span = Math.max(fewest, Math.min(size, Math.round(size_)));
    const inside = (start) => Math.max(0, Math.min(size - span, Math.round(start)));
    view = { size: span, row: inside(row), column: inside(column) };
    draw();
  };
  const everything = () => look(size, 0, 0);
  const zoom = (factor) => {
    const middle = cursor ?? chosen, span = view.size * factor;
    const row = middle ? places[middle.row] + 0.5 : view.row + view.size / 2, column = middle ? places[middle.column] + 0.5 : view.column + view.size / 2;
    look(span, row - span / 2, column - span / 2);
  };
  const sort = () => {
    sorted = data.orders[order.value];
    places = new Array(size);
    sorted.forEach((class_, place) => { places[class_] = place; });
    everything();
  };

  const open = (row, column) => {
    chosen = { row, column };
    outline(frame.picked, chosen);
    const number = count(row, column), items = number ? pictures.of(row, column) : [];
    const title = document.createElement("h3");
    title.tabIndex = -1;
    title.textContent = row === column ? `${names[row]}, named right` : `${names[row]}, taken for ${names[column]}`;
    const told = document.createElement("p");
    told.className = "soft";
    told.textContent = words(row, column) + ". " + (items.length === number ? "" : `${items.length || "None"} of them ${items.length === 1 ? "is" : "are"} in this page, the most confident first; predictions.parquet has all.`);
    const list = document.createElement("ul");
    list.className = "pictures";
    list.append(...items);
    const close = document.createElement("button");
    Object.assign(close, { type: "button", textContent: "Close" });
    close.addEventListener("click", () => { shut(); svg.focus(); });
    const toggle = items.some((item) => item.querySelector(".laid")) ? pictures.toggle() : null;
    const buttons = document.createElement("p");
    buttons.className = "controls";
    buttons.append(...[toggle, close].filter(Boolean));
    panel.replaceChildren(title, told, list, buttons);
    panel.hidden = false;
    if (items.length) list.scrollTop = 0;
  };
  const shut = () => {
    chosen = null;
    panel.hidden = true;
    panel.replaceChildren();
    outline(frame.picked, null);
  };

  const cellAt = (event) => {
    const box = svg.getBoundingClientRect(), { left, top, each, span } = frame;
    const scale = svg.viewBox.baseVal.width / box.width;
    const column = Math.floor(((event.clientX - box.left) * scale - left) / each), row = Math.floor(((event.clientY - box.top) * scale - top) / each);
    if (row < 0 || column < 0 || row >= span || column >= span) return null;
    const found = { row: sorted[view.row + row], column: sorted[view.column + column] };
    // Cells that are smaller than a fingertip need no exact aim: the nearest one with images is meant.
    const reach = Math.floor((event.pointerType === "mouse" ? 4 : 10) / each);
    for (let away = 0; away <= reach; away += 1)
      for (let down = -away; down <= away; down += 1)
        for (let over = -away; over <= away; over += 1) {
          const near = { row: sorted[view.row + row + down], column: sorted[view.column + column + over] };
          if (near.row !== undefined && near.column !== undefined && count(near.row, near.column)) return near;
        }
    return found;
  };
  let began = null;
  svg.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button === 0) began = cellAt(event);
  });
  svg.addEventListener("pointermove", (event) => {
    cursor = cellAt(event);
    point(cursor);
    if (!began || !cursor || began.row === cursor.row && began.column === cursor.column) return;
    const x = [places[began.column], places[cursor.column]].sort((a, b) => a - b), y = [places[began.row], places[cursor.row]].sort((a, b) => a - b);
    const box = { x: frame.left + (x[0] - view.column) * frame.each, y: frame.top + (y[0] - view.row) * frame.each, width: (x[1] - x[0] + 1) * frame.each, height: (y[1] - y[0] + 1) * frame.each };
    for (const [key, value] of Object.entries(box)) frame.dragged.setAttribute(key, value);
  });
  svg.addEventListener("pointerup", (event) => {
    const start = began, end = cellAt(event);
    began = null;
    frame.dragged.setAttribute("width", 0);
    if (!end || event.button !== 0) return;
    const wide = start && Math.max(Math.abs(places[start.row] - places[end.row]), Math.abs(places[start.column] - places[end.column])) + 1;
    if (!start || wide === 1) open(end.row, end.column);
    else if (size > fewest) look(wide, Math.min(places[start.row], places[end.row]), Math.min(places[start.column], places[end.column]));
  });
  svg.addEventListener("pointerleave", () => { began = null; cursor = null; frame.dragged.setAttribute("width", 0); point(null); });
  svg.addEventListener("dblclick", everything);
  svg.addEventListener("focus", () => {
    if (svg.matches(":focus-visible")) { cursor ??= { row: sorted[view.row], column: sorted[view.column] }; point(cursor); }
  });
  svg.addEventListener("blur", () => { cursor = null; point(null); });
  svg.addEventListener("keydown", (event) => {
    cursor ??= { row: sorted[view.row], column: sorted[view.column] };
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (step) {
      const clip = (place) => Math.max(0, Math.min(size - 1, place));
      const row = clip(places[cursor.row] + step[0]), column = clip(places[cursor.column] + step[1]);
      cursor = { row: sorted[row], column: sorted[column] };
      const follow = (start, place) => Math.min(place, Math.max(start, place - view.size + 1));
      const [r, c] = [follow(view.row, row), follow(view.column, column)];
      if (r !== view.row || c !== view.column) look(view.size, r, c);
      point(cursor);
    } else if (event.key === "Enter" || event.key === " ") {
      open(cursor.row, cursor.column);
      panel.querySelector("h3").focus();
    } else if (event.key === "+" || event.key === "=") zoom(0.5);
    else if (event.key === "-") zoom(2);
    else if (event.key === "Escape") everything();
    else return;
    event.preventDefault();
  });

  zooms.in.addEventListener("click", () => zoom(0.5));
  zooms.out.addEventListener("click", () => zoom(2));
  zooms.all.addEventListener("click", everything);
  zooms.in.parentNode.hidden = size <= 8;
  order.value = data.first;
  order.addEventListener("change", sort);
  share.addEventListener("change", draw);
  drawing.replaceChildren(svg);
  controls.hidden = false;
  tool.querySelector("[data-help]").hidden = false;
  sort();
  new ResizeObserver(() => {
    if (drawing.clientWidth !== width) { width = drawing.clientWidth; draw(); }
  }).observe(drawing);
}
