// What a reader makes of a specimen: atoms taken out, a drawing, a phase from a file.
"use strict";

const own = (() => {
  const at = (selector) => document.querySelector(selector);
  const SIDE = 192, FIELD = 64; // pixels, and Å, of a drawing
  const COLUMN = 0.7; // Å: atoms this near each other, seen along the beam, are one column
  const STRONGEST = Math.PI; // rad: more is no phase that one turn tells
  const pad = at("#live-pad");
  const tools = at("#live-draw").elements;
  const note = at("#live-draw output[name=note]");
  const state = { out: [], hidden: false, version: 0, phase: new Float32Array(SIDE * SIDE) };
  let found;

  // Atoms.

  function marks(scene) {
    if (!scene.atoms) return [];
    const button = at("[data-do=rings]");
    button.setAttribute("aria-pressed", String(state.hidden));
    button.textContent = state.hidden ? "Show the rings" : "Hide the rings";
    state.out = state.out.filter((i) => i >= 0 && i < scene.atoms.length);
    const length = scene.size * scene.step;
    if (state.hidden) return [];
    return state.out.map((i) => ({ x: scene.atoms[i].x / length, y: scene.atoms[i].y / length }));
  }

  function nearest() {
    const { scene } = found;
    const { cursor, field } = pictures.shared;
    const far = ({ x, y }) => Math.hypot(x - cursor.x * field, y - cursor.y * field);
    const left = scene.atoms.map((atom, i) => [far(atom), i]).filter(([, i]) => !state.out.includes(i));
    const heavy = left.filter(([distance]) => distance < COLUMN);
    // Of a column's atoms the heaviest is meant: it is what shows.
    const weight = ([, i]) => found.scene.elements[scene.atoms[i].element][0];
    const best = heavy.length
      ? heavy.reduce((a, b) => (weight(b) > weight(a) ? b : a))
      : left.reduce((a, b) => (b[0] < a[0] ? b : a));
    return best[1];
  }

  function takeOut(whole) {
    const words = at("#live-atoms output");
    if (!found?.scene.atoms) {
      words.value = "Choose Li₂CoO₃ or the Cu-Zr glass: this specimen has no single atoms to take out.";
      return;
    }
    if (!pictures.shared.cursor) {
      words.value = "Point at an atom in any picture first: move there, tap, or use the arrow keys.";
      return;
    }
    const { atoms } = found.scene;
    const one = nearest();
    const near = (atom) => Math.hypot(atom.x - atoms[one].x, atom.y - atoms[one].y) < COLUMN;
    const chosen = whole ? atoms.map((_, i) => i).filter((i) => near(atoms[i])) : [one];
    state.out = [...new Set([...state.out, ...chosen])];
    live.remember();
    live.update();
  }

  function sayAtoms() {
    if (state.hidden && state.out.length) {
      at("#live-atoms output").value = "Something is taken out. Where?";
      return;
    }
    const count = {};
    for (const i of state.out) {
      const { element } = found.scene.atoms[i];
      count[element] = (count[element] ?? 0) + 1;
    }
    const list = Object.entries(count).map(([element, number]) => `${number} ${element}`);
    at("#live-atoms output").value = !found.scene.atoms
      ? "This specimen has no single atoms to take out."
      : list.length ? `Taken out: ${list.join(", ")}; a yellow ring marks the place.`
        : "All atoms are in place.";
  }

  // Drawing.

  // Phase of one atom against the distance from it [rad], every 0.05 Å to 8 Å, of its spectrum.
  const profiles = {};
  function profile(element, { elements, semiangle, wavelength }) {
    const limit = (2e-3 * semiangle) / wavelength; // Å⁻¹, where the truth ends
    return (profiles[element] ??= Float64Array.from({ length: 161 }, (_, step) => {
      let sum = 0;
      elements[element].forEach((value, i) => {
        const q = i / FIELD;
        if (q > limit) return;
        let bessel = 0; // of order zero, by its integral
        for (let k = 0; k < 60; k++) {
          bessel += Math.cos(2 * Math.PI * q * 0.05 * step * Math.sin(((k + 0.5) * Math.PI) / 60)) / 60;
        }
        sum += (2 * Math.PI * q * value * bessel) / FIELD;
      });
      return sum;
    }));
  }

  function around(x, y, reach, change) {
    const pixel = FIELD / SIDE;
    const [row, column, n] = [x / pixel, y / pixel, Math.ceil(reach / pixel)];
    for (let i = Math.max(0, Math.floor(row) - n); i <= Math.min(SIDE - 1, row + n); i++) {
      for (let j = Math.max(0, Math.floor(column) - n); j <= Math.min(SIDE - 1, column + n); j++) {
        const distance = pixel * Math.hypot(i - row, j - column);
        if (distance < reach) state.phase[i * SIDE + j] = change(state.phase[i * SIDE + j], distance);
      }
    }
  }

  async function stamp(element, x, y) {
    const table = profile(element, await live.scene("own"));
    around(x, y, 8, (value, distance) => value + table[Math.round(distance / 0.05)]);
  }

  function stroke(x, y) {
    const height = +tools.height.value;
    const bump = (distance) => Math.exp(-(distance ** 2) / 2);
    if (tools.tool.value === "rubber") {
      around(x, y, 3, (value, distance) => value * (1 - bump(distance)));
    } else {
      around(x, y, 4, (value, distance) => Math.max(value, height * bump(distance)));
    }
  }

  const pen = { x: FIELD / 2, y: FIELD / 2, shown: false };

  function paint() {
    const pixels = new ImageData(SIDE, SIDE);
    const [low, high] = analysis.extremes(state.phase);
    const top = Math.max(high, 0.1);
    state.phase.forEach((value, i) => {
      const grey = (255 * (value - Math.min(low, 0))) / (top - Math.min(low, 0));
      pixels.data.set([grey, grey, grey, 255], 4 * i);
    });
    pad.width = pad.height = SIDE;
    const context = pad.getContext("2d");
    context.putImageData(pixels, 0, 0);
    if (pen.shown) {
      context.strokeStyle = "#ffd400";
      context.strokeRect((pen.y / FIELD) * SIDE - 2.5, (pen.x / FIELD) * SIDE - 2.5, 5, 5);
    }
    at("#live-draw output[name=range]").value = `black ${pictures.number(Math.min(low, 0))}, ` +
      `white ${pictures.number(top)} rad; 64 Å across`;
  }

  async function put(x, y) {
    if (["brush", "rubber"].includes(tools.tool.value)) stroke(x, y);
    else await stamp(tools.tool.value, x, y);
    paint();
  }

  const place = (event) => {
    const box = pad.getBoundingClientRect();
    return [
      ((event.clientY - box.top) / box.height) * FIELD,
      ((event.clientX - box.left) / box.width) * FIELD,
    ];
  };
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    put(...place(event));
    event.preventDefault();
  });
  pad.addEventListener("pointermove", (event) => {
    if (pad.hasPointerCapture(event.pointerId) && ["brush", "rubber"].includes(tools.tool.value)) {
      put(...place(event));
    }
  });
  pad.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 4 : 1;
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (moves[event.key]) {
      pen.x = Math.min(Math.max(pen.x + step * moves[event.key][0], 0), FIELD);
      pen.y = Math.min(Math.max(pen.y + step * moves[event.key][1], 0), FIELD);
      pen.shown = true;
      paint();
    } else if (event.key === " " || event.key === "Enter") put(pen.x, pen.y);
    else return;
    event.preventDefault();
  });
  pad.addEventListener("blur", () => {
    pen.shown = false;
    paint();
  });

  function clear() {
    state.phase = new Float32Array(SIDE * SIDE);
    note.value = "";
    paint();
  }

  // A sheet of cobalt atoms in hexagons, of which one is missing.
  async function example() {
    clear();
    for (let i = -5; i <= 5; i++) {
      for (let j = -5; j <= 5; j++) {
        const [x, y] = [32 + 2.4 * j, 32 + 2.8 * (i + j / 2)];
        if (Math.hypot(x - 32, y - 32) > 16 || (i === 1 && j === 1)) continue;
        await stamp("Co", x, y);
      }
    }
    note.value = "Cobalt atoms 2.8 Å apart. One is missing: who shows it, and from which dose on?";
    paint();
  }

  function measure() {
    state.version++;
    const choice = at("#live-controls").elements.specimen;
    choice.value = "own";
    state.out = [];
    live.remember();
    live.update();
    at(".live-stage").scrollIntoView({ block: "center" });
  }

  // Files of NumPy.

  function readNpy(buffer) {
    const bytes = new Uint8Array(buffer);
    if (String.fromCharCode(...bytes.slice(1, 6)) !== "NUMPY") throw new Error("it is no .npy file of NumPy");
    const view = new DataView(buffer);
    const wide = bytes[6] > 1;
    const start = wide ? 12 : 10;
    const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
    const header = new TextDecoder().decode(bytes.slice(start, start + length));
    const kind = /'descr': '([^']+)'/.exec(header)?.[1];
    const shape = /'shape': \(([^)]*)\)/.exec(header)?.[1].split(",").filter((one) => one.trim()).map(Number);
    const read = {
      "<f4": [Float32Array, 4], "<f8": [Float64Array, 8], "<i4": [Int32Array, 4],
      "<i2": [Int16Array, 2], "<u2": [Uint16Array, 2], "|u1": [Uint8Array, 1], "|i1": [Int8Array, 1],
    }[kind];
    if (!read) throw new Error(`its numbers are ${kind ?? "unknown"}; expected float32, float64 or whole numbers`);
    if (shape?.length !== 2 || shape[0] !== shape[1]) {
      throw new Error(`its shape is (${shape?.join(", ") ?? "unknown"}); expected a square picture (n, n)`);
    }
    if (shape[0] < 16 || shape[0] > 1024) throw new Error(`it has ${shape[0]} pixels a side; expected 16 to 1024`);
    const [Kind, size] = read;
    const from = start + length;
    if (buffer.byteLength < from + size * shape[0] ** 2) throw new Error("it ends before its last pixel");
    const values = Float64Array.from(new Kind(buffer.slice(from, from + size * shape[0] ** 2)));
    if (!values.every(Number.isFinite)) throw new Error("it holds a value that is no number");
    const largest = values.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    if (largest > STRONGEST) {
      throw new Error(`its largest value is ${largest.toPrecision(3)}; expected a phase in rad, at most π. ` +
        "Divide it in NumPy first");
    }
    const turned = header.includes("'fortran_order': True");
    return { n: shape[0], value: (i, j) => values[turned ? j * shape[0] + i : i * shape[0] + j] };
  }

  // Bring to the drawing's pixels: the mean of those beneath, or the value between its neighbours.
  function resample({ n, value }) {
    const scale = n / SIDE;
    const points = Math.max(1, Math.ceil(scale));
    const inside = (i) => Math.min(Math.max(i, 0), n - 1);
    const linear = (x, y) => {
      const [i, j] = [Math.floor(x), Math.floor(y)];
      const [u, v] = [x - i, y - j];
      const get = (a, b) => value(inside(i + a), inside(j + b));
      return (1 - u) * ((1 - v) * get(0, 0) + v * get(0, 1)) + u * ((1 - v) * get(1, 0) + v * get(1, 1));
    };
    return Float32Array.from({ length: SIDE * SIDE }, (_, k) => {
      const [row, column] = [Math.floor(k / SIDE), k % SIDE];
      let sum = 0;
      for (let a = 0; a < points; a++) {
        for (let b = 0; b < points; b++) {
          sum += linear(
            (row + (a + 0.5) / points) * scale - 0.5,
            (column + (b + 0.5) / points) * scale - 0.5,
          );
        }
      }
      return sum / points ** 2;
    });
  }

  async function open(file) {
    if (!file) return;
    try {
      const image = readNpy(await file.arrayBuffer());
      state.phase = resample(image);
      note.value = `${file.name}: ${image.n} × ${image.n} pixels as a phase in rad over 64 Å × 64 Å.`;
      paint();
    } catch (error) {
      note.value = `${file.name} was not taken: ${error.message}.`;
    }
  }

  tools.file.addEventListener("change", () => open(tools.file.files[0]));
  const zone = at("#live-draw");
  zone.addEventListener("dragover", (event) => event.preventDefault());
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    open(event.dataTransfer.files[0]);
  });
  zone.addEventListener("submit", (event) => event.preventDefault());
  tools.height.addEventListener("input", () => {
    tools.said.value = `${(+tools.height.value).toFixed(2)} rad`;
  });

  const buttons = {
    atom: () => takeOut(false),
    column: () => takeOut(true),
    back: () => {
      state.out = [];
      live.remember();
      live.update();
    },
    rings: () => {
      state.hidden = !state.hidden;
      live.remember();
      if (!found) return;
      pictures.shared.marks = marks(found.scene);
      pictures.refresh();
      sayAtoms();
    },
    clear,
    example,
    measure,
  };
  for (const button of document.querySelectorAll("[data-do]")) {
    if (buttons[button.dataset.do]) button.addEventListener("click", buttons[button.dataset.do]);
  }
  paint();

  return {
    marks,
    readNpy,
    resample,
    refresh(given) {
      found = given;
      sayAtoms();
    },
    get out() { return state.out; },
    set out(value) { state.out = value; },
    get hidden() { return state.hidden; },
    set hidden(value) { state.hidden = value; },
    get version() { return state.version; },
    get phase() { return state.phase; },
  };
})();
