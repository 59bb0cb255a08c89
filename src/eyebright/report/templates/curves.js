// Charts that a reader can look into. The charts of a group move together: hovering (or a finger, or the arrow keys)
// reads one place in all of them, dragging with a mouse zooms in, a double click or Escape shows everything again.
for (const group of document.querySelectorAll("[data-across]:not([data-ready])")) {
  group.dataset.ready = "";
  const across = JSON.parse(group.dataset.across);
  const [width, height, left, right, top, bottom] = across.frame;
  const { side, margin, x: positions } = across;
  const first = positions[0], span = positions[positions.length - 1] - first || 1;
  const wide = width - left - right, tall = height - top - bottom;
  const toSquare = (position) => positions.length > 1 ? side * (position - first) / span : side / 2;
  const whole = { from: -margin, to: side + margin };
  let view = whole, place = null;

  const element = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const trimmed = (value, digits) => String(Number(value.toPrecision(digits)));
  const show = {
    percent: (value) => trimmed(100 * value, 6) + "\u202f%",
    number: (value) => trimmed(value, 6),
    rate: (value) => value === 0 || Math.abs(value) >= 0.01 ? trimmed(value, 3)
      : value.toExponential(2).replace(/\.?0+e/, "e"),
  };
  const roundTicks = (low, high) => {
    const largest = Math.max(Math.abs(low), Math.abs(high));
    const range = high - low > 1e-9 * largest ? high - low : largest || 1;
    let step = 10 ** Math.floor(Math.log10(range / 4));
    step *= [1, 2, 2.5, 5, 10].find((factor) => range / (step * factor) <= 4.5);
    const begin = Math.floor(low / step + 1e-9), end = Math.max(Math.ceil(high / step - 1e-9), begin + 1);
    return Array.from({ length: end - begin + 1 }, (_, index) => (begin + index) * step);
  };
  const inFrameX = (square) => left + wide * (square - view.from) / (view.to - view.from);

  const charts = [...group.querySelectorAll("[data-curves]")].map((figure) => {
    const svg = figure.querySelector("svg.curve"), plot = svg.querySelector(".plot");
    const cursor = element("path", { class: "cursor" }), select = element("rect", { class: "select", y: -side, height: 3 * side });
    plot.append(cursor, select);
    return {
      data: JSON.parse(figure.dataset.curves), svg, plot, cursor, select, axes: svg.querySelector(".axes"),
      values: [...figure.querySelectorAll("[data-value]")], place: figure.querySelector("[data-place]"),
      asDrawn: { axes: svg.querySelector(".axes").innerHTML, viewBox: plot.getAttribute("viewBox") },
    };
  });

  const read = (index) => {
    place = index;
    for (const chart of charts) {
      const { data } = chart, at = index ?? data.rest;
      chart.values.forEach((value, line) => { value.textContent = data.lines[line].texts[at]; });
      chart.place.textContent = (index === null && data.rest_name ? data.rest_name + ": " : "") + across.places[at];
      chart.cursor.setAttribute("d", index === null ? "" : `M${toSquare(positions[index])} ${-side}V${2 * side}`);
    }
  };

  const visible = () => positions.map((position, index) => index).filter((index) => {
    const square = toSquare(positions[index]);
    return square >= view.from - 1e-6 && square <= view.to + 1e-6;
  });

  const drawAxes = (chart, ticks, toY) => {
    const parts = [];
    for (const tick of ticks) {
      const y = toY(tick);
      parts.push(element("path", { class: "grid", d: `M${left} ${y}H${width - right}` }));
      parts.push(element("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, show[chart.data.style](tick)));
    }
    const seen = visible(), every = Math.ceil(seen.length / 8) || 1;
    for (const index of seen.filter((_, number) => number % every === 0)) {
      const x = inFrameX(toSquare(positions[index]));
      parts.push(element("text", { x, y: height - 8, "text-anchor": "middle" }, across.labels[index]));
    }
    chart.axes.replaceChildren(...parts);
  };

  const look = (from, to) => {
    view = from <= whole.from && to >= whole.to ? whole : { from: Math.max(from, whole.from), to: Math.min(to, whole.to) };
    reset.disabled = out.disabled = view === whole;
    for (const chart of charts) {
      if (view === whole) {
        chart.axes.innerHTML = chart.asDrawn.axes;
        chart.plot.setAttribute("viewBox", chart.asDrawn.viewBox);
        continue;
      }
      const seen = visible();
      const values = chart.data.lines.flatMap((line) => seen.map((index) => line.values[index])).filter((value) => value !== null);
      const ticks = values.length ? roundTicks(Math.min(...values), Math.max(...values)) : chart.data.y;
      const [low, high] = chart.data.y, bottomTick = ticks[0], topTick = ticks[ticks.length - 1];
      const pad = (topTick - bottomTick) * margin / side;
      const toSquareY = (value) => side * (1 - (value - low) / (high - low));
      const y0 = toSquareY(topTick + pad), y1 = toSquareY(bottomTick - pad);
      chart.plot.setAttribute("viewBox", `${view.from} ${y0} ${view.to - view.from} ${y1 - y0}`);
      drawAxes(chart, ticks, (value) => top + tall * (toSquareY(value) - y0) / (y1 - y0));
    }
  };
  const zoom = (factor) => {
    const middle = toSquare(positions[place ?? charts[0].data.rest]);
    const half = (view.to - view.from) * factor / 2;
    const least = 1.5 * side / Math.max(1, positions.length - 1);
    if (factor > 1 || half >= least) look(middle - half, middle + half);
  };
  const nearest = (square) => visible().reduce((best, index) =>
    best === null || Math.abs(toSquare(positions[index]) - square) < Math.abs(toSquare(positions[best]) - square) ? index : best, null);

  for (const chart of charts) {
    const { svg } = chart;
    let began = null;
    const squareAt = (event) => {
      const box = svg.getBoundingClientRect();
      const inside = ((event.clientX - box.left) / box.width * width - left) / wide;
      return view.from + Math.min(1, Math.max(0, inside)) * (view.to - view.from);
    };
    svg.tabIndex = 0;
    svg.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse" && event.button === 0) {
        began = { square: squareAt(event), x: event.clientX };
        svg.setPointerCapture(event.pointerId);
      }
      read(nearest(squareAt(event)));
    });
    svg.addEventListener("pointermove", (event) => {
      const square = squareAt(event);
      read(nearest(square));
      if (began && Math.abs(event.clientX - began.x) > 6) {
        chart.select.setAttribute("x", Math.min(square, began.square));
        chart.select.setAttribute("width", Math.abs(square - began.square));
      }
    });
    const finish = (event) => {
      const square = squareAt(event), start = began;
      began = null;
      chart.select.setAttribute("width", 0);
      if (start && event.type === "pointerup" && Math.abs(event.clientX - start.x) > 6) {
        const from = Math.min(square, start.square), to = Math.max(square, start.square);
        const within = positions.filter((position) => toSquare(position) >= from && toSquare(position) <= to);
        if (within.length > 1) look(from, to);
      }
    };
    svg.addEventListener("pointerup", finish);
    svg.addEventListener("pointercancel", finish);
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse" && !began) read(null); });
    svg.addEventListener("dblclick", () => look(whole.from, whole.to));
    svg.addEventListener("keydown", (event) => {
      const seen = visible(), now = seen.indexOf(place ?? chart.data.rest);
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step && seen.length) read(seen[Math.min(seen.length - 1, Math.max(0, now + step))]);
      else if (event.key === "+" || event.key === "=") zoom(0.5);
      else if (event.key === "-") zoom(2);
      else if (event.key === "Escape") look(whole.from, whole.to);
      else return;
      event.preventDefault();
    });
  }

  const button = (text, title, act) => {
    const made = document.createElement("button");
    Object.assign(made, { type: "button", textContent: text, title });
    made.setAttribute("aria-label", title);
    made.addEventListener("click", act);
    return made;
  };
  const out = button("−", "Zoom out", () => zoom(2)), reset = button("All", "Show everything", () => look(whole.from, whole.to));
  const controls = group.querySelector("[data-controls]");
  controls.prepend(button("+", "Zoom in", () => zoom(0.5)), out, reset);
  controls.hidden = false;
  reset.disabled = out.disabled = true;
}
