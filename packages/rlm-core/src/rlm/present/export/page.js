"use strict";
// The page is whole without this: it opens what is folded, and moves by keys.

const folds = () => document.querySelectorAll("main details");
const folded = (turn) => turn.closest("details:not([open])") !== null;

function openAll(open) {
  for (const fold of folds()) fold.open = open;
}

function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let outer = target; outer; outer = outer.parentElement) if (outer.tagName === "DETAILS") outer.open = true;
  target.scrollIntoView();
}

function move(step) {
  const turns = [...document.querySelectorAll("article")];
  let place = turns.indexOf(document.activeElement.closest("article")) + step;
  while (place in turns && folded(turns[place])) place += step;
  if (!(place in turns)) return;
  turns[place].focus({ preventScroll: true });
  turns[place].scrollIntoView({ block: "start" });
}

const keys = { j: () => move(1), k: () => move(-1), o: () => openAll(true), c: () => openAll(false) };

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
  event.preventDefault();
  keys[event.key]();
});
addEventListener("hashchange", reveal);
addEventListener("beforeprint", () => openAll(true));
document.getElementById("open").addEventListener("click", () => openAll(true));
document.getElementById("close").addEventListener("click", () => openAll(false));
reveal();
