// The live page: reads its form, lets the worker count and reconstruct, and draws the pictures.
// Everything comes from scripts beside this one, so that it works from a server and from disk.
"use strict";

const live = (() => {
  const folder = new URL(".", document.currentScript.src);
  const form = document.getElementById("live-controls");
  const status = form.querySelector("[role=status]");
  const taken = {};
  const scenes = {};
  const waiting = new Map();
  let worker, ready, prepared, busy, again;
  let asked = 0;

  const take = (name, data) => (taken[name] = data);

  function load(name) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL(`${name}.js`, folder);
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${name}.js is not in this build of the book`));
      document.head.append(script);
    });
  }

  async function unpack(base64) {
    const packed = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).arrayBuffer();
  }

  function ask(task, given) {
    const id = ++asked;
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      worker.postMessage({ id, task, given });
    });
  }

  async function start() {
    await Promise.all([load("runtime"), load("network")]);
    if (taken.missing) throw new Error(taken.missing);
    const [runtime, glue, wasm, own, network] = await Promise.all(
      ["runtime", "glue", "wasm", "worker", "network"].map((name) => unpack(taken[name])),
    );
    const script = new Blob([runtime, "\n", own], { type: "text/javascript" });
    worker = new Worker(URL.createObjectURL(script));
    worker.onmessage = ({ data: { id, found, error } }) => {
      const { resolve, reject } = waiting.get(id);
      waiting.delete(id);
      if (error) reject(new Error(error));
      else resolve(found);
    };
    worker.onerror = ({ message }) => {
      waiting.forEach(({ reject }) => reject(new Error(message)));
      waiting.clear();
    };
    await ask("start", { wasm, glue, network: new Uint8Array(network) });
  }

  async function scene(name) {
    if (!scenes[name]) {
      await load(name);
      const { intensity, samples, truth, ...numbers } = taken[name];
      scenes[name] = {
        ...numbers,
        intensity: new Uint16Array(await unpack(intensity)),
        samples: new Float64Array(await unpack(samples)),
        truth: new Float32Array(await unpack(truth)),
      };
    }
    return scenes[name];
  }

  // Everything from a choice to images; the tests call it too.
  async function run({ specimen, dose, seed }) {
    ready ??= start();
    await ready;
    const chosen = await scene(specimen);
    if (prepared !== specimen) {
      prepared = null;
      await ask("prepare", { scene: chosen });
      prepared = specimen;
    }
    const began = performance.now();
    const found = await ask("reconstruct", { dose, seed });
    return { ...found, scene: chosen, milliseconds: performance.now() - began };
  }

  function draw(name, values, low, high, said) {
    const figure = document.querySelector(`.live-pictures [data-picture="${name}"]`);
    const canvas = figure.querySelector("canvas");
    const side = Math.sqrt(values.length);
    const pixels = new ImageData(side, side);
    values.forEach((value, i) => {
      const grey = (255 * (value - low)) / (high - low || 1);
      pixels.data.set([grey, grey, grey, 255], 4 * i);
    });
    canvas.width = canvas.height = side;
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    canvas.setAttribute("aria-label", `${figure.querySelector("strong").textContent}: ${said}`);
    figure.querySelector("span").textContent = said;
  }

  const average = (values) => values.reduce((a, b) => a + b, 0) / values.length;

  function correlation(image, truth) {
    const [meanA, meanB] = [average(image), average(truth)];
    let [ab, aa, bb] = [0, 0, 0];
    image.forEach((value, i) => {
      const [a, b] = [value - meanA, truth[i] - meanB];
      ab += a * b;
      aa += a * a;
      bb += b * b;
    });
    return ab / Math.sqrt(aa * bb);
  }

  const extremes = (values) => values.reduce(
    ([low, high], value) => [Math.min(low, value), Math.max(high, value)],
    [Infinity, -Infinity],
  );

  function show({ scene: chosen, views, counts, maps, mean, deviation, milliseconds }, request) {
    const one = chosen.axial * chosen.size ** 2;
    const view = (counts ?? views).subarray(one, one + chosen.size ** 2);
    const offset = average(chosen.truth);
    const truth = chosen.truth.map((value) => value - offset);
    const [low, high] = extremes(truth);
    const direct = maps.subarray(0, truth.length);
    const agreement = (image) => `correlation with the truth ${correlation(image, truth).toFixed(3)}`;
    const range = ([a, b]) => `${+a.toPrecision(3)} to ${+b.toPrecision(3)}`.replace("-", "−");
    draw("view", view, ...extremes(view), counts
      ? `${view.reduce((a, b) => a + b, 0).toLocaleString("en")} electrons, ${range(extremes(view))} a position`
      : "expected intensity; no electrons are drawn");
    draw("direct", direct, low, high, agreement(direct));
    draw("mean", mean, low, high, agreement(mean));
    draw("truth", truth, low, high, `grey from ${range([low, high])} rad in all three`);
    draw("deviation", deviation, 0, extremes(deviation)[1],
      `grey from 0 to ${extremes(deviation)[1].toPrecision(3)} rad; ${average(deviation).toPrecision(3)} rad on average`);
    const field = chosen.size * chosen.step;
    const bar = field > 100 ? 50 : 10;
    document.querySelectorAll(".live-bar").forEach((element) => {
      element.style.width = `${(100 * bar) / field}%`;
      element.textContent = `${bar} Å`;
    });
    status.textContent =
      `${form.elements.specimen.selectedOptions[0].textContent} at ${said(request.dose)}, seed ` +
      `${request.seed}: ${Math.round(milliseconds)} ms from electrons to images.`;
  }

  // The slider's stops: eight a decade from 20 to 20,000 e⁻/Å², and infinity.
  function dose() {
    const { value, max } = form.elements.dose;
    return value === max ? Infinity : +(20 * 10 ** (value / 8)).toPrecision(2);
  }

  const said = (value) =>
    value === Infinity ? "infinite dose" : `${value.toLocaleString("en")} e⁻/Å²`;

  function sayDose() {
    form.elements.said.value = said(dose());
    form.elements.dose.setAttribute("aria-valuetext", said(dose()));
  }

  async function update() {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    do {
      again = false;
      const request = {
        specimen: form.elements.specimen.value,
        dose: dose(),
        seed: form.elements.seed.valueAsNumber || 0,
      };
      status.textContent = ready ? "Counting and solving …" : "Loading the network …";
      try {
        show(await run(request), request);
      } catch (error) {
        status.textContent = `Nothing to show: ${error.message}.`;
      }
    } while (again);
    busy = false;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (ready) form.elements.seed.stepUp();
    update();
  });
  form.addEventListener("change", () => {
    if (ready) update();
  });
  form.elements.dose.addEventListener("input", sayDose);
  sayDose();
  status.textContent = "Nothing is loaded yet.";

  return { take, run };
})();
