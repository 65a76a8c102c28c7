// Two reconstructions of one specimen under a divider. FRAMES is the index that the build writes.
"use strict";

(() => {
  const root = document.getElementById("compare");
  const folder = root.dataset.frames;
  const doses = FRAMES.doses.map((dose) => (dose === "inf" ? Infinity : dose));
  // The paper's pair, and the dose of the book's first picture.
  const FIRST = { left: ["ptychography"], right: ["attention U-Net", "informed", "truth"], dose: 300 };
  const state = { specimen: 0, dose: 0, left: "", right: "" };

  const doseLabel = (dose) => (dose === Infinity ? "∞ dose" : `${dose} e⁻/Å²`);
  const specimen = () => FRAMES.specimens[state.specimen];
  const methods = () => Object.keys(specimen().frames);
  const nameOf = (method) => METHOD_NAMES[method] ?? method;

  function choice(parent, label, onChange) {
    const box = make("label", parent, {}, label);
    const select = make("select", box);
    select.addEventListener("change", () => { onChange(select.value); show(); remember(); });
    return select;
  }

  const controls = make("div", root, { class: "compare-controls" });
  const specimens = choice(controls, "Specimen", (value) => { state.specimen = Number(value); });
  FRAMES.specimens.forEach((one, i) => make("option", specimens, { value: i }, one.title));
  const pick = {};
  let other = "right"; // the side that was not chosen last
  for (const side of ["left", "right"])
    pick[side] = choice(controls, side === "left" ? "Left" : "Right",
      (value) => { state[side] = value; other = side === "left" ? "right" : "left"; });
  const doseBox = make("label", controls, { class: "compare-dose" }, "Dose");
  const slider = make("input", doseBox,
    { type: "range", min: 0, max: doses.length - 1, step: 1, "aria-label": "Dose" });
  const doseText = make("output", doseBox);
  slider.addEventListener("input", () => { state.dose = offered()[slider.value]; show(); });
  slider.addEventListener("change", () => remember());
  const copy = make("button", controls, { type: "button" }, "Copy link");
  copy.addEventListener("click", () => { remember(); copyLink(copy); });

  const stage = make("div", root, { class: "compare-stage" });
  const half = {};
  for (const side of ["right", "left"]) {
    const box = make("div", stage, { class: `compare-half compare-${side}` });
    half[side] = { box, image: make("img", box, { draggable: "false" }) };
  }
  const bar = make("div", stage, { class: "compare-bar" });
  const barText = make("span", bar);
  const divider = make("div", stage, {
    class: "compare-divider", role: "slider", tabindex: 0, "aria-label": "Divider",
    "aria-orientation": "horizontal", "aria-valuemin": 0, "aria-valuemax": 100,
  });
  const captions = make("div", root, { class: "compare-captions" });
  for (const side of ["left", "right"]) half[side].caption = make("output", captions);

  // Places of the doses that both methods were run at: there is no other stop on the slider.
  function offered() {
    const { frames } = specimen();
    return doses.map((_, i) => i).filter((i) => frames[state.left][i] && frames[state.right][i]);
  }

  function describe(method, frame) {
    if (method === "truth") return "truth";
    const fine = frame.resolution === null ? "no resolution by ring correlation"
      : `resolution ${frame.resolution.toFixed(2)} Å`;
    return `${nameOf(method)}, ${doseLabel(doses[state.dose])}: ` +
      `correlation ${frame.correlation.toFixed(2).replace("-", "−")}, ${fine}`;
  }

  function showHalf(side) {
    const { image, caption } = half[side], method = state[side];
    const frame = specimen().frames[method][state.dose];
    caption.textContent = describe(method, frame);
    image.src = folder + frame.file;
    image.alt = `${specimen().title}, ${caption.textContent}`;
  }

  const place = makeDivider(stage, divider, {
    anywhere: true,
    moved: (at) => {
      half.left.box.style.clipPath = `inset(0 ${100 - at}% 0 0)`;
      half.right.box.style.clipPath = `inset(0 0 0 ${at}%)`;
    },
    say: (at) => `${at} % ${nameOf(state.left)}, ${100 - at} % ${nameOf(state.right)}`,
  });
  for (const end of ["keyup", "pointerup"]) stage.addEventListener(end, () => remember());

  function showChoices() {
    for (const side of ["left", "right"]) {
      pick[side].replaceChildren();
      for (const method of methods()) make("option", pick[side], { value: method }, nameOf(method));
      if (!methods().includes(state[side])) state[side] = methods()[0];
      pick[side].value = state[side];
    }
    // Two methods without a common dose: the one that was not chosen gives way to the truth.
    if (!offered().length) pick[other].value = state[other] = "truth";
    const stops = offered();
    const far = (i) => Math.abs(i - state.dose);
    state.dose = stops.reduce((best, i) => (far(i) < far(best) ? i : best), stops[0]);
    slider.max = stops.length - 1;
    slider.value = stops.indexOf(state.dose);
    specimens.value = state.specimen;
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
    place.place(place.at);
  }

  // What is seen, in the part of the address behind #.
  function remember() {
    const fields = {
      specimen: specimen().name, dose: FRAMES.doses[state.dose], left: state.left,
      right: state.right, divider: Math.round(place.at),
    };
    history.replaceState(null, "", `#${new URLSearchParams(fields)}`);
  }

  const prefer = (wanted) => wanted.find((method) => methods().includes(method)) ?? methods()[0];
  const given = new URLSearchParams(location.hash.slice(1));
  state.specimen = Math.max(0, FRAMES.specimens.findIndex((one) => one.name === given.get("specimen")));
  for (const side of ["left", "right"]) state[side] = prefer([given.get(side), ...FIRST[side]]);
  const dose = FRAMES.doses.findIndex((one) => `${one}` === given.get("dose"));
  state.dose = dose < 0 ? Math.max(0, doses.indexOf(FIRST.dose)) : dose;
  show();
  const at = Number(given.get("divider") ?? 50);
  place.place(Number.isFinite(at) ? at : 50);
})();
