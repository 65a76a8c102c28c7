// What the page asks of its worker: start, prepare, reconstruct, sample.
"use strict";

let networks, direct, changed, latest;

const address = (bytes, type) => URL.createObjectURL(new Blob([bytes], { type }));
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const centred = (values) => {
  const middle = mean(values);
  return values.map((value) => value - middle);
};

// Expected views [of a fully lit pixel]: as simulated, of a drawing, or of vacuum, where a view is
// what the disc lights of its pixel.
function expectedViews(scene, drawing) {
  if (drawing) return thinViews(scene, drawing);
  const views = new Float32Array(scene.views * scene.size ** 2);
  return scene.intensity
    ? views.map((_, i) => scene.lowest + (scene.intensity[i] * scene.range) / 65535)
    : views.map((_, i) => scene.whitening[Math.floor(i / scene.size ** 2)] ** -2);
}

// Take atoms out: the views change as those of a thin specimen would, and so does the truth.
function withoutAtoms(scene, expected, atoms) {
  const removed = atomPhase(scene, atoms);
  const truth = scene.truth.map((value, i) => value - removed[i]);
  const [before, after] = [thinViews(scene, scene.truth), thinViews(scene, truth)];
  const views = expected.map((value, i) => Math.max(0, value + after[i] - before[i]));
  return { views, truth };
}

const tasks = {
  async start({ wasm, glue, network, paper }) {
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = {
      mjs: address(glue, "text/javascript"),
      wasm: address(wasm, "application/wasm"),
    };
    const open = (model) => ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    networks = { informed: await open(network), paper: await open(paper) };
  },

  // Kernels of a specimen. `drawing` is the phase of a reader's own [rad], `out` the atoms taken out.
  async prepare({ scene, drawing, out = [] }) {
    if (direct?.scene.name !== scene.name) direct = new Direct(scene);
    changed = { views: expectedViews(direct.scene, drawing), truth: drawing ?? direct.scene.truth };
    if (out.length) changed = withoutAtoms(direct.scene, changed.views, out);
    return { truth: changed.truth };
  },

  async reconstruct({ dose, seed }, say) {
    const { scene } = direct;
    let [views, counts] = [changed.views, null];
    if (dose !== Infinity) {
      say("Counting electrons");
      const electrons = dose * scene.electronsPerDose;
      counts = drawCounts(views.map((value) => value * electrons), seed);
      views = counts.map((count) => count / electrons);
    }
    say("Solving direct ptychography");
    latest = direct.statistic(views);
    const maps = direct.features(latest);
    const [n, fine] = [scene.size, scene.size * scene.upsampling];
    say("Running the network on the direct estimate");
    const informed = await networks.informed.run({
      maps: new ort.Tensor("float32", maps, [1, 3, fine, fine]),
      step: new ort.Tensor("float32", Float32Array.of(scene.step), [1]),
    });
    say("Running the paper's network");
    // As misr4d.learn.learned.attention_unet: each view over its intensity in vacuum.
    const relative = views.map((value, i) => value * scene.whitening[Math.floor(i / n ** 2)] ** 2);
    const { image } = await networks.paper.run({
      views: new ort.Tensor("float32", relative, [1, scene.views, n, n]),
    });
    return {
      views,
      counts,
      maps,
      noise: latest.noise,
      mean: centred(informed.mean.data),
      deviation: informed.deviation.data,
      paper: centred(image.data),
    };
  },

  // Images that explain the electrons of the last reconstruction as well as each other.
  async sample({ number, seed }) {
    const images = [];
    for (let i = 0; i < number; i++) {
      const image = direct.sample(latest, seed * 1000 + i);
      images.push({ image: Float32Array.from(image), misfit: direct.misfit(latest, image) });
    }
    return images;
  },
};

self.onmessage = async ({ data: { id, task, given } }) => {
  const say = (progress) => self.postMessage({ id, progress });
  try {
    self.postMessage({ id, found: await tasks[task](given, say) });
  } catch (error) {
    self.postMessage({ id, error: `${task}: ${error.message ?? error}` });
  }
};
