// The pictures of the page: which are in view, in what order, and with or without what the classifier looked at. The
// confusion matrix shows copies of them.
const pictures = (() => {
  const gallery = document.querySelector("[data-gallery]");
  if (!gallery) return { of: () => [] };
  const list = gallery.querySelector("ul.pictures"), said = gallery.querySelector("[data-shown]");
  const more = gallery.querySelector("[data-more]"), step = Number(gallery.dataset.inView);
  const controls = gallery.querySelector("[data-tools]");
  const [kind, class_, first] = ["kind", "class", "first"].map((name) => controls.querySelector(`select[data-${name}]`));
  const all = [...list.children].map((item) => ({
    item, right: item.classList.contains("is-right"), true: Number(item.dataset.true), guess: Number(item.dataset.guess),
    sure: Number(item.dataset.sure), drawn: item.dataset.drawn === undefined ? null : Number(item.dataset.drawn),
  }));
  let limit = step;

  const show = () => {
    const place = class_.value === "" ? null : Number(class_.value), drawn = kind.value === "drawn";
    const found = all.filter((one) => (drawn ? one.drawn !== null : one.right === (kind.value === "right"))
      && (place === null || one.true === place || one.guess === place));
    first.disabled = drawn;
    const turn = first.value === "sure" ? -1 : 1;
    found.sort(drawn ? (one, two) => one.drawn - two.drawn : (one, two) => turn * (one.sure - two.sure));
    const seen = found.slice(0, limit);
    list.replaceChildren(...seen.map((one) => one.item));
    const name = place === null ? "" : ` with ${class_.selectedOptions[0].textContent}`;
    const what = { wrong: "mistakes", right: "right predictions", drawn: "images drawn by chance" }[kind.value];
    said.textContent = found.length ? `${seen.length} of ${found.length} ${what}${name} in this page` : `No ${what}${name} in this page`;
    more.hidden = seen.length === found.length;
  };
  const again = () => { limit = step; show(); };
  for (const select of [kind, class_, first]) select.addEventListener("change", again);
  more.firstElementChild.addEventListener("click", () => {
    const before = list.children.length;
    limit += step;
    show();
    list.children[before]?.scrollIntoView({ block: "nearest" });
  });
  if (!all.some((one) => !one.right)) kind.value = "drawn";

  // Names elsewhere in the page that lead here choose the class.
  for (const link of document.querySelectorAll("a[data-class]")) {
    link.addEventListener("click", () => {
      class_.value = link.dataset.class;
      if (!all.some((one) => !one.right && [one.true, one.guess].includes(Number(link.dataset.class)))) kind.value = "right";
      again();
    });
  }

  const toggles = [];
  const overlays = (on) => {
    document.body.classList.toggle("overlays", on);
    for (const toggle of toggles) toggle.setAttribute("aria-pressed", String(on));
  };
  const listen = (toggle) => {
    toggles.push(toggle);
    toggle.addEventListener("click", () => overlays(!document.body.classList.contains("overlays")));
  };
  const toggle = controls.querySelector("[data-overlays]");
  if (toggle) listen(toggle);
  controls.hidden = false;
  again();

  return {
    // Copies of the pictures of one cell, most confident first.
    of: (row, column) => all.filter((one) => one.true === row && one.guess === column)
      .sort((one, two) => two.sure - one.sure).map((one) => one.item.cloneNode(true)),
    // Another button for the overlays; null when there are none.
    toggle: () => {
      if (!toggle) return null;
      const other = toggle.cloneNode(true);
      listen(other);
      return other;
    },
  };
})();
