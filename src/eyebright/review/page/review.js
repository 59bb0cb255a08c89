// One suggestion after the other. The server keeps the decisions; this page asks, shows and remembers what was skipped.
"use strict";

const find = (id) => document.getElementById(id);
const SHOWN_AT_ONCE = 12;
const SMALL_PIXELS = 64;        // larger ones look better smoothed
const PAIR_SIZE = 2;

let review = null;             // what GET state gave
let decisions = new Map();     // number of a case -> its decision
let actions = [];              // what undo takes back, oldest first: {kind: "decide" | "skip", case}
let skipped = new Set();
let section = null;            // the kind that is looked at; null for all
let current = null;            // the case on the screen, or null at the end
let busy = true;
let closed = false;

// ---- talking to the server

async function ask(path, body) {
  let answer;
  try {
    answer = await fetch(path, body === undefined ? {} : {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The review is not running any more.\nWhat was decided so far is saved; start it again to go on.");
  }
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const remedy = value.remedy ? `To fix it: ${value.remedy}. ` : "";
    throw new Error(`Not saved: ${value.problem || answer.statusText}.\n${remedy}The question stays here until it is saved.`);
  }
  return value;
}

// Runs one step at a time; while one is being saved, keys and clicks wait for nobody and do nothing.
async function step(work) {
  if (busy || closed) return;
  setBusy(true);
  try {
    await work();
    find("alert").hidden = true;
  } catch (error) {
    find("alert").textContent = error.message;
    find("alert").hidden = false;
  }
  setBusy(false);
}

function setBusy(value) {
  busy = value;
  find("main").setAttribute("aria-busy", String(value));
}

// ---- what can be done

const answer = (choice, more = {}) => step(async () => {
  if (current === null) return;
  const asked = current;
  const made = await ask("decide", { case: asked.case, choice, ...more });
  decisions.set(asked.case, made);
  actions.push({ kind: "decide", case: asked.case });
  goOn(asked.case, said(asked, made));
});

const skip = () => step(async () => {
  if (current === null) return;
  skipped.add(current.case);
  actions.push({ kind: "skip", case: current.case });
  goOn(current.case, "Skipped.");
});

const undo = () => step(async () => {
  const last = actions.at(-1);
  if (last === undefined) return;
  if (last.kind === "decide") {
    await ask("undo", { case: last.case });
    decisions.delete(last.case);
  }
  skipped.delete(last.case);
  actions.pop();
  const back = review.cases[last.case];
  if (section !== null && back.section !== section) section = null;
  show(back, "Taken back.");
});

const finish = () => step(async () => {
  await ask("finish", {});
  closed = true;
  showFinished();
});

function chooseClass(label) {
  if (label === current.label && current.action === "relabel") answer("reject");
  else if (label === current.to) answer("accept");
  else answer("relabel", { label });
}

function chooseSection(code) {
  if (busy || closed) return;
  section = code;
  const open = listed().filter((item) => !decisions.has(item.case));
  for (const item of open) skipped.delete(item.case);
  goOn(-1, "");
}

const listed = () => review.cases.filter((item) => section === null || item.section === section);
const isOpen = (item) => !decisions.has(item.case) && !skipped.has(item.case);

// The next open case after the one with this number, from the start again when there is none.
function following(number) {
  const open = listed().filter(isOpen);
  return open.find((item) => item.case > number) ?? open[0] ?? null;
}

function goOn(number, saying) {
  const next = following(number);
  if (next === null) showEnd(saying);
  else show(next, saying);
}

// ---- words

const percent = (share) => `${share >= 0.9995 || share === 0 ? Math.round(share * 100) : (share * 100).toFixed(share > 0.99 ? 1 : 0)} %`;
const labelled = (label) => label ?? "no label";
const decidedImages = (item) => item.images.filter((image) => image.role !== "example");
const isPair = (item) => decidedImages(item).length > 1;

function wordsOf(item) {
  const several = decidedImages(item).length > 1;
  if (item.action === "relabel") {
    const begins = item.label === null ? "It has no label: is it " : `Labelled ${item.label}: is it `;
    return { question: [begins, item.to, "?"], yes: `Change to ${item.to}`, no: item.label === null ? "Leave it" : `Keep ${item.label}` };
  }
  if (item.action === "merge") {
    return { question: [`Are ${item.label} and ${item.to} one class?`], yes: `Join them as ${item.to}`, no: "Two classes" };
  }
  if (item.action === "group") {
    return { question: ["Do these belong together?"], yes: "Keep in one split", no: "They are different" };
  }
  if (item.action === "drop" && several) {
    return { question: ["Is it a copy that can go?"], yes: "Drop the copy", no: "Keep both" };
  }
  if (item.action === "drop") return { question: ["Can this image go?"], yes: "Drop it", no: "Keep it" };
  const labels = [...new Set(decidedImages(item).map((image) => labelled(image.label)))];
  const question = labels.length > 1 ? `One photo, labelled ${labels.join(" and ")}: set it aside?`
    : `Should ${several ? "these" : "this image"} be set aside?`;
  return { question: [question], yes: several ? "Set all aside" : "Set aside", no: several ? "Keep all" : "Keep it" };
}

const VERBS = { drop: "dropped", quarantine: "set aside", group: "kept together", merge: "merged", keep: "kept" };

function inWords(verdict) {
  return verdict.action === "relabel" ? `labelled ${verdict.label}` : VERBS[verdict.action];
}

function said(item, made) {
  if (made.outcome === "rejected") return "Rejected.";
  if (made.outcome === "accepted") return `Accepted: ${wordsOf(item).yes}.`;
  return `Decided: ${[...new Set(made.verdicts.filter((v) => v.action !== "keep").map(inWords))].join(", ")}.`;
}

// What was decided before about an image of this case, under another suggestion.
function earlier(item) {
  const here = new Set(decidedImages(item).map((image) => `${image.id} ${image.source}`));
  const found = [];
  for (const made of decisions.values()) {
    if (made.case === item.case) continue;
    for (const verdict of made.verdicts) {
      if (verdict.action !== "keep" && here.has(`${verdict.id} ${verdict.source}`)) found.push(inWords(verdict));
    }
  }
  return [...new Set(found)];
}

// ---- building the page

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function show(item, saying) {
  current = item;
  find("end").hidden = true;
  find("case").hidden = false;
  const words = wordsOf(item);
  find("question").replaceChildren(...words.question.map((part, place) =>
    make("span", { class: place === 1 ? "towards" : "" }, part)));
  find("finding").textContent = item.title;
  find("finding").hidden = item.title === "";
  find("reason").textContent = item.reason;
  find("sure").replaceChildren(
    make("span", { class: "track" }, make("i")),
    // Of a label, a probe's doubt: many honest labels are doubted that much.
    `${percent(item.confidence)} ${item.action === "relabel" ? "doubt" : "sure"}`);
  find("sure").querySelector("i").style.width = `${item.confidence * 100}%`;
  const before = earlier(item);
  find("earlier").hidden = before.length === 0;
  find("earlier").textContent = `You decided about this before: ${before.join(", ")}. The last decision counts.`;
  showImages(item);
  showFacts(item);
  showClasses(item);
  find("accept").firstElementChild.textContent = words.yes;
  find("reject").firstElementChild.textContent = words.no;
  const merging = item.action === "merge";
  // The same bytes cannot be divided, whatever the splits.
  const sameBytes = new Set(decidedImages(item).map((image) => image.id)).size < 2;
  find("group").hidden = merging || sameBytes || item.action === "group";
  find("drop").hidden = merging || item.action === "drop" || item.action === "group";
  find("drop").firstChild.textContent = isPair(item) ? "Drop all" : "Drop";
  find("quarantine").hidden = merging || item.action === "quarantine";
  showProgress();
  window.scrollTo(0, 0);
  find("question").focus({ preventScroll: true });
  find("said").textContent = `${saying} ${find("position").textContent}. ${find("question").textContent} ${item.reason}`;
  preload(following(item.case));
}

function showProgress() {
  const items = listed();
  const decided = items.filter((item) => decisions.has(item.case)).length;
  const place = current === null ? items.length : items.indexOf(current) + 1;
  find("position").textContent = `${place} of ${items.length}`;
  find("meter").style.width = `${items.length ? (100 * decided) / items.length : 100}%`;
  find("undo").disabled = actions.length === 0;
  document.title = current === null ? "Review: done" : `${place} of ${items.length} · Review`;
  const tabs = review.sections.length > 1 ? [{ code: null, name: "All" }, ...review.sections] : [];
  find("tabs").replaceChildren(...tabs.map(({ code, name }) => {
    const left = review.cases.filter((item) => (code === null || item.section === code) && !decisions.has(item.case));
    return make("button", {
      type: "button", "aria-pressed": String(code === section), onclick: () => chooseSection(code), "data-section": code ?? "all",
    }, name, make("small", { "aria-label": `${left.length} left` }, String(left.length)));
  }));
}

function showImages(item) {
  const images = item.images.slice(0, SHOWN_AT_ONCE);
  const kind = images.length === 1 ? "one" : images.length === PAIR_SIZE ? "two" : "many";
  find("images").className = `images ${kind}`;
  const differing = {};
  for (const name of ["label", "split"]) {
    differing[name] = item.action !== "merge" && new Set(item.images.map((image) => image[name])).size > 1;
  }
  const figures = images.map((image, place) => figure(item, image, place, differing));
  const rest = item.images.length - images.length;
  if (rest > 0) figures.push(make("p", { class: "more" }, `and ${rest} more, to which the answer applies too`));
  find("images").replaceChildren(...figures);
}

function figure(item, image, place, differing) {
  const picture = make("img", { src: `picture/${image.picture}`, alt: `${labelled(image.label)}, ${image.source}`, decoding: "async" });
  if (image.width && Math.max(image.width, image.height) <= SMALL_PIXELS) picture.classList.add("small");
  picture.addEventListener("error", () => explainMissing(picture, image));
  const choosable = isPair(item) && image.role !== "example" && place < 9;
  const frame = make(choosable ? "button" : "div", {
    class: "frame", type: choosable ? "button" : null,
    "aria-label": choosable ? `Keep only image ${place + 1}: ${labelled(image.label)}, ${image.source}` : null,
    title: choosable ? "Keep only this one" : null, onclick: choosable ? () => answer("keep-only", { image: place }) : () => {},
  }, picture, choosable ? make("kbd", { class: "number" }, String(place + 1)) : null, fate(item, image));
  const caption = make("figcaption", {});
  if (item.images.length > 1) {
    caption.append(make("b", { class: differing.label ? "differs" : "" }, labelled(image.label)));
    if (image.split) caption.append(" ", make("span", { class: differing.split ? "differs" : "soft" }, image.split));
    caption.append(make("small", {}, measures(image)));
  }
  caption.append(make("small", { class: "path", title: image.source }, make("bdi", {}, image.source)));
  return make("figure", {}, frame, caption);
}

function fate(item, image) {
  if (item.action !== "drop" || !isPair(item)) return null;
  const stays = image.role === "stays";
  return make("span", { class: `fate ${stays ? "stays" : "goes"}` }, stays ? "stays" : "goes");
}

async function explainMissing(picture, image) {
  const answered = await fetch(`picture/${image.picture}`).catch(() => null);
  const value = answered ? await answered.json().catch(() => ({})) : {};
  picture.replaceWith(make("span", { class: "gone" }, `This image cannot be shown${value.problem ? `: ${value.problem}` : "."}`));
}

function measures(image) {
  const parts = [image.width ? `${image.width} × ${image.height}` : null, image.format, image.bytes === null ? null : size(image.bytes)];
  return parts.filter((part) => part).join(" · ");
}

const size = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

function showFacts(item) {
  const image = item.images[0];
  const rows = item.images.length === 1
    ? [["Label", labelled(image.label)], ["Split", image.split], ["Image", measures(image)]].filter(([, value]) => value)
    : [];
  find("facts").replaceChildren(...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function showClasses(item) {
  const one = !isPair(item) && item.action !== "merge";
  const buttons = one ? item.choices.map((label, place) => make("button", {
    type: "button", class: label === item.to ? "suggested" : label === item.label ? "given" : "",
    "data-label": label, onclick: () => chooseClass(label),
  }, make("kbd", {}, String(place + 1)), label)) : [];
  if (one && review.classes.length > item.choices.length) {
    buttons.push(make("button", { type: "button", id: "search-button", "aria-haspopup": "dialog", onclick: openChooser }, make("kbd", {}, "/"), "Search all"));
  }
  if (isPair(item)) {
    const last = Math.min(decidedImages(item).length, SHOWN_AT_ONCE, 9);
    const keys = Array.from({ length: last }, (_, place) => make("kbd", {}, String(place + 1)));
    buttons.push(make("p", { class: "soft hint" }, ...keys, " keep only that one and drop the others"));
  }
  find("classes").replaceChildren(...buttons);
}

function preload(item) {
  for (const image of item === null ? [] : item.images.slice(0, SHOWN_AT_ONCE)) new Image().src = `picture/${image.picture}`;
}

function showEnd(saying) {
  current = null;
  find("case").hidden = true;
  find("end").hidden = false;
  showProgress();
  const items = listed();
  const left = items.filter((item) => !decisions.has(item.case));
  const elsewhere = review.cases.filter((item) => !decisions.has(item.case)).length - left.length;
  const kind = section === null ? "" : ` in ${review.sections.find((found) => found.code === section).name}`;
  find("end-title").textContent = left.length ? `${left.length} skipped${kind}` : `All decided${kind}`;
  find("end-text").textContent = `Saved in ${review.corrections}`;
  showCounts(items);
  const buttons = [];
  if (left.length) buttons.push(["Look at the skipped ones", () => chooseSection(section)]);
  if (elsewhere) buttons.push([`Go on with the other ${elsewhere}`, () => chooseSection(null)]);
  buttons.push(["Finish", finish]);
  find("end-buttons").replaceChildren(...buttons.map(([text, work], place) =>
    make("button", { type: "button", class: place === 0 ? "yes" : "quiet", onclick: work }, text)));
  find("said").textContent = `${saying} ${find("end-title").textContent}.`;
  find("end-buttons").firstElementChild.focus();
}

function showCounts(items) {
  const made = items.map((item) => decisions.get(item.case)).filter((decision) => decision);
  const counts = ["accepted", "changed", "rejected"].map((name) => [name, made.filter((decision) => decision.outcome === name).length]);
  counts.push(["open", items.length - made.length]);
  find("end-counts").replaceChildren(...counts.filter(([name, count]) => count || name === "accepted" || name === "rejected")
    .map(([name, count]) => make("li", {}, make("b", {}, String(count)), name)));
}

function showFinished() {
  current = null;
  section = null;
  find("case").hidden = true;
  find("end").hidden = false;
  find("tabs").replaceChildren();
  for (const id of ["finish", "help-button"]) find(id).hidden = true;
  find("end-title").textContent = "The review is closed";
  find("end-text").textContent = `Everything is saved in ${review.corrections}. This page can be closed.`;
  find("end-buttons").replaceChildren();
  showCounts(review.cases);
  document.title = "Review: closed";
  find("said").textContent = "The review is closed. Everything is saved.";
  find("end-title").focus();
}

// ---- the list of all classes

let candidates = [];
let picked = 0;

function openChooser() {
  if (busy || current === null || isPair(current) || current.action === "merge") return;
  find("search").value = "";
  search();
  find("chooser").showModal();
  find("search").focus();
}

// Names that start with the text come first, then those with a word that does, then those that hold it.
function search() {
  const text = find("search").value.trim().toLowerCase();
  const rank = (name) => {
    const lowered = name.toLowerCase();
    if (lowered.startsWith(text)) return 0;
    if (lowered.split(/[\s_-]+/).some((word) => word.startsWith(text))) return 1;
    return lowered.includes(text) ? 2 : 3;
  };
  candidates = review.classes.map((name) => [rank(name), name]).filter(([found]) => found < 3)
    .sort((one, other) => one[0] - other[0]).map(([, name]) => name);
  pick(0);
}

function pick(place) {
  picked = Math.max(0, Math.min(place, candidates.length - 1));
  const entries = candidates.map((name, number) => make("li", {
    role: "option", id: `class-${number}`, "aria-selected": String(number === picked), onclick: () => take(name),
  }, name, name === current.to ? make("small", {}, "suggested") : name === current.label ? make("small", {}, "given") : null));
  find("found").replaceChildren(...(entries.length ? entries : [make("li", { class: "nothing" }, "No class has these letters.")]));
  find("search").setAttribute("aria-activedescendant", entries.length ? `class-${picked}` : "");
  entries[picked]?.scrollIntoView({ block: "nearest" });
}

function take(name) {
  find("chooser").close();
  chooseClass(name);
}

find("search").addEventListener("input", search);
find("search").addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") pick(picked + 1);
  else if (event.key === "ArrowUp") pick(picked - 1);
  else if (event.key === "Enter" && candidates.length) take(candidates[picked]);
  else return;
  event.preventDefault();
});

// ---- keys and clicks

const KEYS = {
  a: () => answer("accept"), enter: () => answer("accept"), r: () => answer("reject"), backspace: () => answer("reject"),
  d: () => press("drop"), q: () => press("quarantine"), g: () => press("group"),
  s: skip, " ": skip, arrowright: skip, u: undo, arrowleft: undo, "/": openChooser, "?": () => find("help").showModal(),
};

// A letter does what its button does, and nothing where the button is not there.
function press(id) {
  if (!find(id).hidden) find(id).click();
}

function digit(number) {
  if (current === null || current.action === "merge") return;
  if (isPair(current)) {
    if (number <= Math.min(decidedImages(current).length, SHOWN_AT_ONCE)) answer("keep-only", { image: number - 1 });
  } else if (number <= current.choices.length) chooseClass(current.choices[number - 1]);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || review === null) return;
  if (document.querySelector("dialog[open]")) return;
  const key = event.key.toLowerCase();
  const onButton = event.target instanceof HTMLButtonElement;
  if (onButton && (key === "enter" || key === " ")) return; // the button itself
  const work = /^[1-9]$/.test(key) ? () => digit(Number(key)) : KEYS[key];
  const needsCase = !["u", "arrowleft", "?"].includes(key);
  if (work === undefined || (needsCase && current === null)) return;
  event.preventDefault();
  work();
});

for (const button of document.querySelectorAll("[data-choice]")) {
  button.addEventListener("click", () => answer(button.dataset.choice));
}
find("skip").addEventListener("click", skip);
find("undo").addEventListener("click", undo);
find("finish").addEventListener("click", finish);
find("help-button").addEventListener("click", () => find("help").showModal());
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}

// ---- beginning, or going on after the last decision

async function begin() {
  try {
    review = await ask("state");
  } catch (error) {
    find("alert").textContent = error.message;
    find("alert").hidden = false;
    return;
  }
  decisions = new Map(review.decisions.map((made) => [made.case, made]));
  actions = review.decisions.map((made) => ({ kind: "decide", case: made.case }));
  find("data").replaceChildren(make("bdi", {}, review.data));
  find("where").textContent = review.corrections;
  setBusy(false);
  goOn(actions.at(-1)?.case ?? -1, "");
}

begin();
