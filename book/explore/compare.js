// Two reconstructions of one specimen under a divider. FRAMES is the index that the build writes.
"use strict";

(() => {
  const root = document.getElementById("compare");
  const folder = root.dataset.frames;
  const doses = FRAMES.doses.map((dose) => (dose === "inf" ? Infinity : dose));
  const state = { specimen: 0, dose: 0, left: "", right: "", divider: 50 };
  const STEP = 2, LEAP = 10; // percent of the width, for arrow and page keys

  const doseLabel = (dose) => (dose === Infinity ? "∞ dose" : `${dose} e⁻/Å²`);
  const specimen = () => FRAMES.specimens[state.specimen];
  const methods = () => Object.keys(specimen().frames);

  function make(tag, parent, attributes = {}, text = "") {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    parent.append(element);
    return element;
  }

  function choice(parent, label, onChange) {
    const box = make("label", parent, {}, label);
    const select = make("select", box);
    select.addEventListener("change", () => { onChange(select.value); show(); });
    return select;
  }

  const controls = make("div", root, { class: "compare-controls" });
  const specimens = choice(controls, "Specimen", (value) => { state.specimen = Number(value); });
  FRAMES.specimens.forEach((one, i) => make("option", specimens, { value: i }, one.title));
  const pick = {};
  for (const side of ["left", "right"])
    pick[side] = choice(controls, side === "left" ? "Left" : "Right",
      (value) => { state[side] = value; });
  const doseBox = make("label", controls, { class: "compare-dose" }, "Dose");
  const slider = make("input", doseBox,
    { type: "range", min: 0, max: doses.length - 1, step: 1, "aria-label": "Dose" });
  const doseText = make("output", doseBox);
  slider.addEventListener("input", () => { state.dose = Number(slider.value); show(); });

  const stage = make("div", root, { class: "compare-stage" });
  const half = {};
  for (const side of ["right", "left"]) {
    const box = make("div", stage, { class: `compare-half compare-${side}` });
    half[side] = { box, image: make("img", box, { draggable: "false" }), note: make("p", box) };
  }
  const bar = make("div", stage, { class: "compare-bar" });
  const barText = make("span", bar);
  const divider = make("div", stage, {
    class: "compare-divider", role: "slider", tabindex: 0, "aria-label": "Divider",
    "aria-orientation": "horizontal", "aria-valuemin": 0, "aria-valuemax": 100,
  });
  const captions = make("div", root, { class: "compare-captions" });
  for (const side of ["left", "right"]) half[side].caption = make("output", captions);

  function absent(method) {
    const run = specimen().frames[method];
    const at = doses.filter((_, i) => run && run[i]).map(doseLabel);
    const missing = `${method} was not run at ${doseLabel(doses[state.dose])}`;
    return at.length ? `${missing}; it has ${at.join(", ")}.` : `${missing}.`;
  }

  function describe(method, frame) {
    if (method === "truth") return "truth";
    const fine = frame.resolution === null ? "no resolution by ring correlation"
      : `resolution ${frame.resolution.toFixed(2)} Å`;
    return `${method}, ${doseLabel(doses[state.dose])}: ` +
      `correlation ${frame.correlation.toFixed(2).replace("-", "−")}, ${fine}`;
  }

  function showHalf(side) {
    const { image, note, caption } = half[side], method = state[side];
    const frame = specimen().frames[method][state.dose];
    image.hidden = !frame;
    note.hidden = Boolean(frame);
    note.textContent = frame ? "" : absent(method);
    caption.textContent = frame ? describe(method, frame) : note.textContent;
    if (frame) {
      image.src = folder + frame.file;
      image.alt = `${specimen().title}, ${caption.textContent}`;
    }
  }

  function showDivider() {
    const at = Math.min(100, Math.max(0, state.divider));
    state.divider = at;
    half.left.box.style.clipPath = `inset(0 ${100 - at}% 0 0)`;
    half.right.box.style.clipPath = `inset(0 0 0 ${at}%)`;
    divider.style.left = `${at}%`;
    divider.setAttribute("aria-valuenow", Math.round(at));
    divider.setAttribute("aria-valuetext",
      `${Math.round(at)} % ${state.left}, ${100 - Math.round(at)} % ${state.right}`);
  }

  function showChoices() {
    for (const side of ["left", "right"]) {
      pick[side].replaceChildren();
      for (const method of methods()) make("option", pick[side], { value: method }, method);
      if (!methods().includes(state[side])) state[side] = methods()[0];
      pick[side].value = state[side];
    }
    slider.value = state.dose;
  }

  function show() {
    showChoices();
    const label = doseLabel(doses[state.dose]);
    doseText.textContent = label;
    slider.setAttribute("aria-valuetext", label);
    const [down, across] = specimen().field;
    stage.style.aspectRatio = `${across} / ${down}`;
    bar.style.width = `${(100 * specimen().bar) / across}%`;
    barText.textContent = `${specimen().bar} Å`;
    showHalf("left");
    showHalf("right");
    showDivider();
  }

  function follow(event) {
    const { left, width } = stage.getBoundingClientRect();
    state.divider = (100 * (event.clientX - left)) / width;
    showDivider();
  }

  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    stage.setPointerCapture(event.pointerId);
    follow(event);
    divider.focus({ preventScroll: true });
    event.preventDefault();
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) follow(event);
  });
  divider.addEventListener("keydown", (event) => {
    const to = {
      ArrowLeft: state.divider - STEP, ArrowDown: state.divider - STEP,
      ArrowRight: state.divider + STEP, ArrowUp: state.divider + STEP,
      PageDown: state.divider - LEAP, PageUp: state.divider + LEAP, Home: 0, End: 100,
    }[event.key];
    if (to === undefined) return;
    state.divider = to;
    showDivider();
    event.preventDefault();
    event.stopPropagation();
  });

  const prefer = (wanted) => wanted.find((method) => methods().includes(method)) ?? methods()[0];
  state.left = prefer(["direct"]);
  state.right = prefer(["informed", "truth"]);
  state.dose = Math.max(0, doses.indexOf(300));
  show();
})();
