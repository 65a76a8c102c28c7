// What explore and live share: a divider over a picture, links, names of methods, elements.
"use strict";

// The study's names of methods, where a reader of the paper needs others.
const METHOD_NAMES = { "attention U-Net": "the paper's network", informed: "direct + U-Net" };

// Add an element to another.
function make(tag, parent, attributes = {}, text = "") {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  parent.append(element);
  return element;
}

// Copy the page's address, which holds its state, and say so on the button for a while.
async function copyLink(button) {
  const label = button.dataset.label ?? button.textContent;
  button.dataset.label = label;
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Link copied";
  } catch {
    button.textContent = "The link is in the address bar";
  }
  setTimeout(() => { button.textContent = label; }, 2500);
}

// A divider: what is left of it is one picture, what is right of it another.
// `moved` is told its place [percent of the width]; `say` puts a place in words. `anywhere`: a press
// anywhere on the stage takes it, not only one on the divider itself.
function makeDivider(stage, divider, { moved, say, anywhere }) {
  const STEP = 2, LEAP = 10; // percent, for arrow and page keys
  let at = 50;

  function place(value) {
    at = Math.min(100, Math.max(0, value));
    divider.style.left = `${at}%`;
    divider.setAttribute("aria-valuenow", Math.round(at));
    divider.setAttribute("aria-valuetext", say(Math.round(at)));
    moved(at);
  }

  function follow(event) {
    const { left, width } = stage.getBoundingClientRect();
    place((100 * (event.clientX - left)) / width);
  }

  const grip = anywhere ? stage : divider;
  grip.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    grip.setPointerCapture(event.pointerId);
    follow(event);
    divider.focus({ preventScroll: true });
    event.preventDefault();
  });
  grip.addEventListener("pointermove", (event) => {
    if (grip.hasPointerCapture(event.pointerId)) follow(event);
  });
  divider.addEventListener("keydown", (event) => {
    const to = {
      ArrowLeft: at - STEP, ArrowDown: at - STEP, ArrowRight: at + STEP, ArrowUp: at + STEP,
      PageDown: at - LEAP, PageUp: at + LEAP, Home: 0, End: 100,
    }[event.key];
    if (to === undefined) return;
    place(to);
    event.preventDefault();
    event.stopPropagation();
  });
  return { place, get at() { return at; } };
}
