// What is seen of a reconstruction: the pair under the divider, the pictures, profile and spectra.
"use strict";

const shown = (() => {
  const at = (selector) => document.querySelector(selector);
  const PLACES = ["view", "direct", "paper", "mean", "deviation", "truth", "sample"];
  const NAMES = {
    direct: "Direct ptychography",
    paper: "The paper's network",
    mean: "Direct + U-Net",
    sample: "One that explains the electrons",
    truth: "Truth",
  };
  const COLOURS = { direct: "#0072b2", paper: "#d55e00", mean: "#009e73", truth: "#888888" };
  const pair = at("#live-pair").elements;
  const stage = at(".live-stage");
  const picture = {};
  for (const name of PLACES) picture[name] = new pictures.Picture(at(`[data-picture="${name}"]`));
  let images = {};
  let limits = [0, 1];
  let left, right, found;
  let sample = 0;

  // The pair: two pictures, of which the right one lies behind the left one.
  class Pair extends pictures.Picture {
    draw(pen, width) {
      super.draw(pen, width);
      if (!this.behind) return;
      const x = (divider.at / 100) * width;
      pen.save();
      pen.beginPath();
      pen.rect(x, 0, width - x, width);
      pen.clip();
      const front = this.source;
      this.source = this.behind;
      super.draw(pen, width);
      this.source = front;
      pen.restore();
    }
  }
  const main = new Pair(stage.closest("figure"));
  const divider = makeDivider(stage, at(".compare-divider"), {
    moved: () => {
      main.paint();
      at(".compare-divider").style.display = pair.show.value === "divider" ? "" : "none";
    },
    say: (value) => `${value} % ${NAMES[pair.left.value]}, ${100 - value} % ${NAMES[pair.right.value]}`,
  });
  at(".compare-divider").addEventListener("keyup", () => live.remember());
  at(".compare-divider").addEventListener("pointerup", () => live.remember());

  const rad = (value) => `${pictures.number(value)} rad`;

  function agreement(image) {
    if (!found.scene.inside && found.request.specimen === "vacuum") {
      const size = Math.sqrt(analysis.mean(image.map((value) => value * value)));
      return `there is nothing: it invents ${rad(size)} (RMS), up to ${rad(analysis.extremes(image)[1])}`;
    }
    const where = found.scene.inside ? "inside the specimen" : "over the field";
    const value = analysis.correlation(image, images.truth, found.scene.inside);
    return Number.isFinite(value)
      ? `correlation ${where} ${value.toFixed(2).replace("-", "−")}`
      : "no correlation: one of the two is empty";
  }

  function showSample() {
    const { image, misfit } = found.samples[sample];
    images.sample = image;
    const [low, high] = limits;
    picture.sample.show(image, {
      low, high, unit: "rad",
      said: `number ${sample + 1} of ${found.samples.length}: leaves ${misfit.toFixed(3)} of what ` +
        `counting noise leaves; ${agreement(image)}`,
    });
    showPair();
  }

  function showPair() {
    if (!found) return;
    const names = [pair.left.value, pair.right.value];
    [left, right] = names.map((name) => images[name]);
    const [low, high] = limits;
    const titles = names.map((name) => NAMES[name]);
    main.behind = null;
    const mode = pair.show.value;
    at(".compare-divider").style.display = mode === "divider" ? "" : "none";
    main.title.textContent = titles.join(mode === "difference" ? " minus " : " | ");
    if (mode === "difference") {
      const size = (high - low) / 2;
      const values = left.map((value, i) => value - right[i]);
      const rms = Math.sqrt(analysis.mean(values.map((value) => value * value)));
      main.show(values, {
        low: -size, high: size, unit: "rad", colour: "signed", said: `they differ by ${rad(rms)} (RMS)`,
      });
    } else if (mode === "overlay") {
      const level = (value) => (255 * (value - low)) / (high - low || 1);
      main.showColours(left.length, (i) => [level(left[i]), level(right[i]), level(left[i])],
        `${titles[0]} in magenta, ${titles[1]} in green; white or grey where they agree`);
    } else {
      main.show(right, { low, high, unit: "rad", said: "" });
      main.behind = main.source;
      main.show(left, {
        low, high, unit: "rad", said: `left: ${agreement(left)}; right: ${agreement(right)}`,
      });
    }
    scheduleSpectra();
    profile();
  }

  function profile() {
    if (!found) return;
    const curves = ["truth", "direct", "paper", "mean"].map((name) => ({
      name: NAMES[name],
      colour: COLOURS[name],
      values: images[name],
      dashed: name === "truth",
    }));
    analysis.drawProfile(at("#live-profile"), curves, pictures.shared);
  }

  let spectraTimer;
  function scheduleSpectra() {
    clearTimeout(spectraTimer);
    spectraTimer = setTimeout(spectra, 200);
  }

  function spectra() {
    if (!found) return;
    const limit = found.scene.wavelength / (2e-3 * found.scene.semiangle);
    for (const [side, values] of [["left", left], ["right", right]]) {
      const figure = at(`[data-spectrum="${side}"]`);
      const canvas = figure.querySelector("canvas");
      analysis.drawSpectrum(canvas, values, pictures.shared, limit);
      const title = NAMES[pair[side].value];
      figure.querySelector("strong").textContent = title;
      canvas.setAttribute("aria-label", `Fourier transform of ${title} in the window that is seen`);
    }
  }

  function sayCursor() {
    const { cursor, field } = pictures.shared;
    if (!found || !cursor) return;
    const side = found.scene.size * found.scene.upsampling;
    const place = (value) => Math.min(Math.max(Math.floor(value * side), 0), side - 1);
    const i = place(cursor.x) * side + place(cursor.y);
    const values = ["direct", "paper", "mean", "truth"]
      .map((name) => `${NAMES[name]} ${pictures.number(images[name][i])}`);
    at("#live-cursor").value = `${(cursor.x * field).toFixed(1)} Å down, ` +
      `${(cursor.y * field).toFixed(1)} Å across: ${values.join(", ")} rad`;
  }

  let lastWindow = "";
  pictures.onChange((shared) => {
    profile();
    sayCursor();
    const window = `${shared.x} ${shared.y} ${shared.zoom}`;
    if (window !== lastWindow) scheduleSpectra();
    lastWindow = window;
  });

  function show(given) {
    found = given;
    const { scene, views, counts, maps, truth } = found;
    const field = scene.size * scene.step;
    const offset = analysis.mean(truth);
    images = {
      direct: maps.subarray(0, truth.length),
      paper: found.paper,
      mean: found.mean,
      truth: Float32Array.from(truth, (value) => value - offset),
    };
    // One grey scale for all phases: the truth's, or, of nothing, an oxygen atom's.
    const oxygen = scene.elements?.O;
    const empty = oxygen && (2 * Math.PI * oxygen.reduce((sum, v, i) => sum + v * i, 0)) / field ** 2;
    limits = analysis.middle(images.truth, 0.005);
    if (!(limits[1] > limits[0])) limits = [-empty, empty];
    const [low, high] = limits;
    pictures.shared.field = field;
    pictures.shared.marks = own.marks(scene);
    const first = scene.axial * scene.size ** 2;
    const view = (counts ?? views).slice(first, first + scene.size ** 2);
    const [least, most] = analysis.extremes(view);
    picture.view.show(view, {
      low: counts ? 0 : least, high: Math.max(most, least + 1e-6),
      unit: counts ? "electrons" : "of a lit pixel",
      said: counts
        ? `${view.reduce((a, b) => a + b, 0).toLocaleString("en")} electrons in one of ${scene.views} views`
        : "expected intensity; no electrons are drawn",
    });
    for (const name of ["direct", "paper", "mean"]) {
      picture[name].show(images[name], { low, high, unit: "rad", said: agreement(images[name]) });
    }
    picture.truth.show(images.truth, {
      low, high, unit: "rad",
      said: scene.inside ? "the projected phase that was simulated"
        : found.request.specimen === "vacuum" ? "nothing" : "the phase that was drawn",
    });
    const largest = analysis.extremes(found.deviation)[1];
    picture.deviation.show(found.deviation, {
      low: 0, high: largest, unit: "rad", colour: "map",
      said: `${rad(analysis.mean(found.deviation))} on average`,
    });
    sample = 0;
    showSample();
    own.refresh(found);
    slide.show(found);
    pictures.refresh();
  }

  function nextSample() {
    if (!found) return;
    sample = (sample + 1) % found.samples.length;
    showSample();
  }

  let playing;
  function play(button) {
    clearInterval(playing);
    playing = button.getAttribute("aria-pressed") === "true" ? null : setInterval(nextSample, 700);
    button.setAttribute("aria-pressed", String(Boolean(playing)));
    button.textContent = playing ? "Stop" : "Play all";
  }

  // All pictures on one sheet, with what they are.
  function sheet() {
    const names = ["view", "direct", "paper", "mean", "truth", "deviation"];
    const [side, gap, head, foot] = [400, 16, 56, 60];
    const canvas = document.createElement("canvas");
    canvas.width = 3 * side + 4 * gap;
    canvas.height = head + 2 * (side + foot + gap);
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = "#000";
    pen.font = "bold 22px sans-serif";
    const { specimen, seed } = found.request;
    const title = at(`#live-controls option[value="${specimen}"]`).textContent;
    const bar = picture.direct.bar;
    pen.fillText(`${title}, ${live.said(found.request.dose)}, seed ${seed}`, gap, 36);
    names.forEach((name, i) => {
      const [x, y] = [gap + (i % 3) * (side + gap), head + Math.floor(i / 3) * (side + foot + gap)];
      pen.drawImage(picture[name].canvas, x, y, side, side);
      pen.fillStyle = "#fff";
      pen.fillRect(x + 14, y + side - 20, (parseFloat(bar.style.width) / 100) * side, 5);
      pen.font = "14px sans-serif";
      pen.strokeText(bar.textContent, x + 14, y + side - 26);
      pen.fillText(bar.textContent, x + 14, y + side - 26);
      pen.fillStyle = "#000";
      pen.font = "bold 16px sans-serif";
      pen.fillText(picture[name].title.textContent, x, y + side + 20);
      pen.font = "14px sans-serif";
      const grey = [...picture[name].scale.querySelectorAll("span")].map((one) => one.textContent);
      pen.fillText(`${grey.join(" to ")}; ${picture[name].words}`, x, y + side + 40, side);
    });
    return canvas;
  }

  function save() {
    if (!found) return;
    const { specimen, seed, dose } = found.request;
    sheet().toBlob((blob) => {
      const anchor = document.createElement("a");
      anchor.href = URL.createObjectURL(blob);
      anchor.download = `misr4d_${specimen}_${dose === Infinity ? "inf" : dose}_${seed}.png`;
      anchor.click();
      URL.revokeObjectURL(anchor.href);
    }, "image/png");
  }

  const state = () => ({
    left: pair.left.value,
    right: pair.right.value,
    show: pair.show.value,
    divider: Math.round(divider.at),
  });

  function recall(fields) {
    for (const name of ["left", "right", "show"]) {
      const known = [...pair[name].options].map((option) => option.value);
      if (known.includes(fields.get(name))) pair[name].value = fields.get(name);
    }
    const at = Number(fields.get("divider") ?? 50);
    divider.place(Number.isFinite(at) ? at : 50);
  }

  at("#live-pair").addEventListener("change", () => {
    divider.place(divider.at);
    showPair();
    live.remember();
  });
  const buttons = {
    closer: () => pictures.zoom(2),
    farther: () => pictures.zoom(0.5),
    whole: pictures.whole,
    next: nextSample,
    play,
    save,
    link: (button) => {
      live.remember();
      copyLink(button);
    },
  };
  for (const button of document.querySelectorAll("[data-do]")) {
    if (buttons[button.dataset.do]) {
      button.addEventListener("click", () => buttons[button.dataset.do](button));
    }
  }

  return { show, state, recall, sheet };
})();
