// The live page: reads its form, lets the worker count and reconstruct, and shows what it finds.
// Everything comes from scripts beside this one, so that it works from a server and from disk.
"use strict";

const live = (() => {
  const folder = new URL(".", document.currentScript.src);
  const form = document.getElementById("live-controls");
  const choices = form.elements;
  const status = form.querySelector("[role=status]");
  const progress = form.querySelector("progress");
  const SAMPLES = 4;
  const taken = {};
  const scenes = {};
  const waiting = new Map();
  let worker, ready, prepared, busy, again, latest;
  let asked = 0;
  let loaded = 0;

  const take = (name, data) => (taken[name] = data);
  const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

  // Load one of the page's own scripts, once.
  function load(name) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL(`${name}.js`, folder);
      script.onload = () => {
        loaded += taken.sizes?.[name] ?? 0;
        resolve();
      };
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

  const say = (text, share) => {
    status.textContent = text;
    progress.hidden = share === undefined;
    if (share !== undefined) progress.value = share;
  };

  const FIRST = ["runtime", "network", "paper"];
  const firstSize = (specimen) =>
    [...FIRST, fileOf(specimen)].reduce((sum, name) => sum + (taken.sizes?.[name] ?? 0), 0);
  const fileOf = (specimen) => (["vacuum", "own"].includes(specimen) ? "blank" : specimen);

  async function start() {
    const whole = firstSize(choices.specimen.value);
    const one = async (name) => {
      await load(name);
      say(`Loading: ${megabytes(loaded)} of ${megabytes(whole)} MB …`, (0.5 * loaded) / whole);
    };
    await Promise.all(FIRST.map(one));
    if (taken.missing) throw new Error(taken.missing);
    const names = ["runtime", "glue", "wasm", "worker", "network", "paper"];
    const [runtime, glue, wasm, own, network, paper] = await Promise.all(
      names.map((name) => unpack(taken[name])),
    );
    const script = new Blob([runtime, "\n", own], { type: "text/javascript" });
    worker = new Worker(URL.createObjectURL(script));
    worker.onmessage = ({ data: { id, found, error, progress: words } }) => {
      if (words) {
        say(`${words} …`, 0.9);
        return;
      }
      const { resolve, reject } = waiting.get(id);
      waiting.delete(id);
      if (error) reject(new Error(error));
      else resolve(found);
    };
    worker.onerror = ({ message }) => {
      waiting.forEach(({ reject }) => reject(new Error(message)));
      waiting.clear();
    };
    say("Opening the networks …", 0.6);
    await ask("start", {
      wasm, glue, network: new Uint8Array(network), paper: new Uint8Array(paper),
    });
  }

  async function scene(specimen) {
    const name = fileOf(specimen);
    if (scenes[name]) return scenes[name];
    await load(name);
    const { intensity, samples, truth, inside, atoms, kinds, ...numbers } = taken[name];
    const found = { name, ...numbers, samples: new Float64Array(await unpack(samples)) };
    if (intensity) {
      found.intensity = new Uint16Array(await unpack(intensity));
      found.truth = new Float32Array(await unpack(truth));
      found.inside = new Uint8Array(await unpack(inside));
    }
    if (atoms) {
      const places = new Float32Array(await unpack(atoms));
      const symbols = Object.keys(numbers.elements);
      found.atoms = Array.from(new Uint8Array(await unpack(kinds)), (kind, i) =>
        ({ x: places[2 * i], y: places[2 * i + 1], element: symbols[kind] }));
    }
    return (scenes[name] = found);
  }

  // Everything from a choice to images; the tests call it too. `out` numbers the atoms taken out.
  async function run({ specimen, dose, seed, out = [], drawing = null }) {
    ready ??= start();
    try {
      await ready;
    } catch (error) {
      ready = null; // asked again, the page tries again
      throw error;
    }
    const chosen = await scene(specimen);
    const wanted = JSON.stringify([specimen, out, specimen === "own" ? own.version : 0]);
    if (prepared?.wanted !== wanted) {
      prepared = null;
      say("Working out the kernels of this specimen …", 0.75);
      const { truth } = await ask("prepare", {
        scene: { ...chosen, atoms: undefined },
        drawing: specimen === "own" ? drawing ?? own.phase : null,
        out: out.map((i) => chosen.atoms[i]),
      });
      prepared = { wanted, truth };
    }
    const began = performance.now();
    const found = await ask("reconstruct", { dose, seed });
    const side = chosen.size * chosen.upsampling;
    return {
      ...found,
      scene: chosen,
      truth: prepared.truth ?? new Float32Array(side * side),
      milliseconds: performance.now() - began,
    };
  }

  // The slider's stops [e⁻/Å²], the paper's among them.
  const STOPS = [
    20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000, 10000, 20000, Infinity,
  ];
  const stop = (i) => STOPS[i];
  const dose = () => stop(+choices.dose.value);
  const said = (value) =>
    value === Infinity ? "infinite dose" : `${value.toLocaleString("en")} e⁻/Å²`;

  function sayDose() {
    choices.said.value = said(dose());
    choices.dose.setAttribute("aria-valuetext", said(dose()));
  }

  function request() {
    return {
      specimen: choices.specimen.value,
      dose: dose(),
      seed: choices.seed.valueAsNumber || 0,
      out: own.out,
    };
  }

  async function update() {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    document.body.classList.add("live-busy");
    do {
      again = false;
      const wanted = request();
      try {
        const found = await run(wanted);
        latest = { ...found, request: wanted };
        const images = await ask("sample", { number: SAMPLES, seed: wanted.seed });
        latest.samples = images;
        shown.show(latest);
        say(`${choices.specimen.selectedOptions[0].textContent} at ${said(wanted.dose)}, seed ` +
          `${wanted.seed}: ${(found.milliseconds / 1000).toFixed(1)} s from electrons to images.`);
      } catch (error) {
        say(`Nothing to show: ${error.message}.`);
      }
    } while (again);
    busy = false;
    document.body.classList.remove("live-busy");
  }

  // The state that a link holds, behind the page's own #. An own drawing is not in it.
  function link() {
    const { specimen, seed, out } = request();
    const fields = { specimen, dose: dose() === Infinity ? "inf" : dose(), seed, ...shown.state() };
    if (out.length) fields.out = out.join(",");
    if (out.length && own.hidden) fields.rings = "hidden";
    return `#${new URLSearchParams(fields)}`;
  }

  function remember() {
    history.replaceState(null, "", link());
  }

  function recall() {
    const fields = new URLSearchParams(location.hash.slice(1));
    const known = [...choices.specimen.options].map((option) => option.value);
    if (known.includes(fields.get("specimen"))) choices.specimen.value = fields.get("specimen");
    if (/^\d{1,6}$/.test(fields.get("seed"))) choices.seed.value = fields.get("seed");
    const wanted = fields.get("dose") === "inf" ? Infinity : Number(fields.get("dose"));
    if (wanted > 0) {
      // The nearest of the slider's stops.
      const far = (i) => (stop(i) === wanted ? 0 : Math.abs(Math.log(stop(i) / wanted)));
      choices.dose.value = STOPS.reduce((best, _, i) => (far(i) < far(best) ? i : best), 0);
    }
    own.out = (fields.get("out") ?? "").split(",").filter(Boolean).map(Number)
      .filter(Number.isInteger);
    own.hidden = fields.get("rings") === "hidden";
    shown.recall(fields);
  }

  function begin() {
    recall();
    sayDose();
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      choices.seed.stepUp();
      remember();
      update();
    });
    form.addEventListener("change", (event) => {
      if (event.target === choices.specimen) own.out = [];
      remember();
      update();
    });
    choices.dose.addEventListener("input", sayDose);
    document.querySelectorAll("[data-size=first]").forEach((element) => {
      element.textContent = megabytes(firstSize(choices.specimen.value));
    });
    update();
  }

  return {
    take, run, ask, update, remember, link, begin, scene, dose, said, say,
    get latest() { return latest; },
  };
})();
