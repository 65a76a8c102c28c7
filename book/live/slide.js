// Views are the same image, displaced: one is laid over the central one by hand, then all are added.
"use strict";

const slide = (() => {
  const at = (selector) => document.querySelector(selector);
  const pad = at("#live-slide-one");
  const sum = at("#live-slide-all");
  const inputs = at("#live-slide").elements;
  const moved = { x: 0, y: 0 }; // Å, by hand
  let scene, views, centre;

  // Frequency of a view [Å⁻¹]: the middle one of its samples.
  function frequency(view) {
    const perView = scene.samples.length / scene.views / 2;
    const i = 2 * (view * perView + Math.floor(perView / 2));
    return [scene.samples[i], scene.samples[i + 1]];
  }

  // The shift that lays a view on the central one [Å]: −λ·defocus·k, misr4d.core.optics.
  const geometry = (view) =>
    frequency(view).map((k) => -scene.wavelength * scene.defocus * k);

  // The view near the rim in the direction that was chosen.
  function chosen() {
    const [dx, dy] = { up: [-1, 0], down: [1, 0], left: [0, -1], right: [0, 1] }[inputs.side.value];
    const rim = (0.85 * scene.semiangle * 1e-3) / scene.wavelength;
    let best = [Infinity, 0];
    for (let view = 0; view < scene.views; view++) {
      const [kx, ky] = frequency(view);
      const far = Math.hypot(kx - dx * rim, ky - dy * rim);
      if (far < best[0]) best = [far, view];
    }
    return best[1];
  }

  function picture(view) {
    const n = scene.size;
    return views.subarray(view * n * n, (view + 1) * n * n);
  }

  // Value of a view that was moved by (x, y) [scan steps], cyclically, between its pixels.
  function sample(image, i, j, x, y) {
    const n = scene.size;
    const [a, b] = [i - x, j - y];
    const [r, c] = [Math.floor(a), Math.floor(b)];
    const [u, v] = [a - r, b - c];
    const get = (row, column) => image[(((row % n) + n) % n) * n + (((column % n) + n) % n)];
    return (1 - u) * ((1 - v) * get(r, c) + v * get(r, c + 1)) +
      u * ((1 - v) * get(r + 1, c) + v * get(r + 1, c + 1));
  }

  function paint(canvas, colour) {
    const n = scene.size;
    const pixels = new ImageData(n, n);
    for (let i = 0; i < n * n; i++) pixels.data.set([...colour(i), 255], 4 * i);
    canvas.width = canvas.height = n;
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  }

  function normal(image) {
    const [low, high] = analysis.middle(image, 0.01);
    return (value) => (255 * (value - low)) / (high - low || 1);
  }

  function showOne() {
    const n = scene.size;
    const view = chosen();
    const [under, over] = [picture(centre), picture(view)];
    const [a, b] = [normal(under), normal(over)];
    const laid = Float32Array.from(over, (_, i) =>
      sample(over, Math.floor(i / n), i % n, moved.x / scene.step, moved.y / scene.step));
    paint(pad, (i) => [b(laid[i]), a(under[i]), b(laid[i])]);
    const fit = analysis.correlation(laid, under);
    const [gx, gy] = geometry(view);
    const place = (x, y) => `${x.toFixed(1)} Å down, ${y.toFixed(1)} Å across`.replaceAll("-", "−");
    at("#live-slide output[name=one]").value =
      `Moved by ${place(moved.x, moved.y)}: the two correlate by ${fit.toFixed(2).replace("-", "−")}.` +
      (inputs.tell.checked ? ` Geometry says ${place(gx, gy)}.` : "");
    pad.setAttribute("aria-label", "A view near the rim over the central one; arrow keys move it");
  }

  function showAll() {
    const n = scene.size;
    const share = +inputs.share.value;
    const total = new Float32Array(n * n);
    for (let view = 0; view < scene.views; view++) {
      const image = picture(view);
      const [x, y] = geometry(view).map((shift) => (share * shift) / scene.step);
      for (let i = 0; i < n * n; i++) total[i] += sample(image, Math.floor(i / n), i % n, x, y);
    }
    const middle = analysis.mean(total);
    const contrast = Math.sqrt(analysis.mean(total.map((value) => (value - middle) ** 2))) / middle;
    const grey = normal(total);
    paint(sum, (i) => [grey(total[i]), grey(total[i]), grey(total[i])]);
    at("#live-slide output[name=all]").value =
      `Every view moved by ${share.toFixed(2).replace("-", "−")} of λ · defocus · angle: the sum has a contrast of ` +
      `${(100 * contrast).toFixed(1)} %.`;
    sum.setAttribute("aria-label", "Sum of all views, each moved");
  }

  function show(found) {
    if (found) {
      scene = found.scene;
      centre = scene.axial;
      const noisy = inputs.noisy.checked || !scene.intensity;
      views = noisy ? found.views
        : Float32Array.from(scene.intensity, (level) => scene.lowest + (level * scene.range) / 65535);
    }
    if (!scene) return;
    const field = scene.size * scene.step;
    for (const bar of document.querySelectorAll("#live-slide .live-bar")) {
      const length = field > 100 ? 50 : 20;
      bar.style.width = `${(100 * length) / field}%`;
      bar.textContent = `${length} Å`;
    }
    showOne();
    showAll();
  }

  function move(x, y) {
    moved.x += x;
    moved.y += y;
    showOne();
  }

  let last;
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    last = event;
    pad.focus({ preventScroll: true });
    event.preventDefault();
  });
  pad.addEventListener("pointermove", (event) => {
    if (!scene || !pad.hasPointerCapture(event.pointerId)) return;
    const scale = (scene.size * scene.step) / pad.clientWidth;
    move((event.clientY - last.clientY) * scale, (event.clientX - last.clientX) * scale);
    last = event;
  });
  pad.addEventListener("keydown", (event) => {
    const step = (event.shiftKey ? 1 : 0.1) * (scene?.step ?? 1);
    const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!by || !scene) return;
    move(by[0] * step, by[1] * step);
    event.preventDefault();
  });
  inputs.side.addEventListener("change", () => {
    Object.assign(moved, { x: 0, y: 0 });
    show();
  });
  inputs.tell.addEventListener("change", () => show());
  inputs.noisy.addEventListener("change", () => show(live.latest));
  inputs.share.addEventListener("input", () => scene && showAll());

  return { show };
})();
