// Numbers and curves of pictures: agreement with the truth, a line profile, Fourier transforms.
"use strict";

const analysis = (() => {
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

  const extremes = (values) => values.reduce(
    ([low, high], value) => [Math.min(low, value), Math.max(high, value)],
    [Infinity, -Infinity],
  );

  // Range that leaves out a share of the values at either end.
  function middle(values, share) {
    const sorted = Float32Array.from(values).sort();
    const out = Math.floor(share * sorted.length);
    return [sorted[out], sorted[sorted.length - 1 - out]];
  }

  // Correlation of two images over the pixels that a mask holds, or over all.
  function correlation(image, truth, inside) {
    let [n, a, b, ab, aa, bb] = [0, 0, 0, 0, 0, 0];
    for (let i = 0; i < image.length; i++) {
      if (inside && !inside[i]) continue;
      n++;
      a += image[i];
      b += truth[i];
      ab += image[i] * truth[i];
      aa += image[i] ** 2;
      bb += truth[i] ** 2;
    }
    return (ab - (a * b) / n) / Math.sqrt((aa - a ** 2 / n) * (bb - b ** 2 / n));
  }

  // A step of 1, 2 or 5 times a power of ten that divides a range into four or so.
  function niceStep(range) {
    const raw = range / 4;
    const power = 10 ** Math.floor(Math.log10(raw));
    return power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  }

  const label = (value) => `${+value.toPrecision(6)}`.replace("-", "−");

  // Curves [{name, colour, values}] along the row under the cursor, in the window that is seen.
  function drawProfile(canvas, curves, shared) {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width) return;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    const ink = getComputedStyle(canvas).color;
    pen.scale(ratio, ratio);
    pen.clearRect(0, 0, width, height);
    pen.font = "13px sans-serif";
    pen.fillStyle = pen.strokeStyle = ink;
    if (!shared.cursor || !curves.length) {
      pen.fillText("Move over a picture, or tap one.", 20, height / 2);
      return;
    }
    const side = Math.sqrt(curves[0].values.length);
    const row = Math.min(Math.max(Math.floor(shared.cursor.x * side), 0), side - 1);
    const first = Math.max(0, Math.floor((shared.y - 0.5 / shared.zoom) * side));
    const last = Math.min(side - 1, Math.ceil((shared.y + 0.5 / shared.zoom) * side));
    const lines = curves.map(({ values, ...rest }) => ({
      ...rest,
      values: Array.from(values.subarray(row * side + first, row * side + last + 1)),
    }));
    let [low, high] = extremes(lines.flatMap((line) => line.values));
    if (!(high > low)) [low, high] = [low - 0.5, high + 0.5];
    const edge = { left: 52, right: 8, top: 24, bottom: 38 };
    const pixel = shared.field / side;
    const x = (i) => edge.left + ((i - first) / (last - first)) * (width - edge.left - edge.right);
    const y = (v) => edge.top + ((high - v) / (high - low)) * (height - edge.top - edge.bottom);
    pen.globalAlpha = 0.25;
    pen.textAlign = "right";
    for (let s = niceStep(high - low), v = Math.ceil(low / s) * s; v <= high; v += s) {
      pen.fillRect(edge.left, y(v), width - edge.left - edge.right, 1);
      pen.globalAlpha = 1;
      pen.fillText(label(Math.round(v / s) * s), edge.left - 6, y(v) + 4);
      pen.globalAlpha = 0.25;
    }
    pen.textAlign = "center";
    const [from, to] = [first * pixel, last * pixel];
    for (let s = niceStep(to - from), v = Math.ceil(from / s) * s; v <= to; v += s) {
      pen.fillRect(x(v / pixel), edge.top, 1, height - edge.top - edge.bottom);
      pen.globalAlpha = 1;
      pen.fillText(label(Math.round(v / s) * s), x(v / pixel), height - edge.bottom + 16);
      pen.globalAlpha = 0.25;
    }
    pen.globalAlpha = 1;
    pen.fillText("across the picture [Å]", (edge.left + width) / 2, height - 4);
    pen.save();
    pen.translate(14, (height - edge.bottom + edge.top) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText("phase [rad]", 0, 0);
    pen.restore();
    const at = x(Math.min(Math.max(shared.cursor.y * side, first), last));
    pen.setLineDash([4, 4]);
    pen.beginPath();
    pen.moveTo(at, edge.top);
    pen.lineTo(at, height - edge.bottom);
    pen.stroke();
    pen.setLineDash([]);
    pen.textAlign = "left";
    let left = edge.left;
    for (const { name, colour, values, dashed } of lines) {
      pen.strokeStyle = pen.fillStyle = colour;
      pen.lineWidth = 2;
      pen.setLineDash(dashed ? [6, 3] : []);
      pen.beginPath();
      values.forEach((value, i) => pen.lineTo(x(first + i), y(value)));
      pen.stroke();
      pen.beginPath();
      pen.moveTo(left, 12);
      pen.lineTo(left + 16, 12);
      pen.stroke();
      pen.fillStyle = ink;
      pen.fillText(name, left + 20, 16);
      left += 32 + pen.measureText(name).width;
    }
    pen.setLineDash([]);
  }

  // |Fourier transform|² of the square window of `side` pixels about a place, tapered; logarithms,
  // zero frequency in the middle. A plain transform row by row: windows are small.
  function spectrum(values, shared) {
    const side = Math.sqrt(values.length);
    const n = Math.min(side, Math.max(24, 2 * Math.round(side / shared.zoom / 2)));
    const corner = (middle) => Math.min(Math.max(Math.round(middle * side - n / 2), 0), side - n);
    const [x0, y0] = [corner(shared.x), corner(shared.y)];
    const taper = Float64Array.from({ length: n }, (_, i) => Math.sin((Math.PI * (i + 0.5)) / n) ** 2);
    const window = Float64Array.from({ length: n * n }, (_, i) =>
      values[(x0 + Math.floor(i / n)) * side + y0 + (i % n)]);
    const middle = mean(window);
    const cos = Float64Array.from({ length: n }, (_, i) => Math.cos((2 * Math.PI * i) / n));
    const sin = Float64Array.from({ length: n }, (_, i) => Math.sin((2 * Math.PI * i) / n));
    const [re, im] = [new Float64Array(n * n), new Float64Array(n * n)];
    for (let y = 0; y < n; y++) {
      for (let k = 0; k < n; k++) {
        let [a, b] = [0, 0];
        for (let x = 0; x < n; x++) {
          const value = (window[y * n + x] - middle) * taper[x] * taper[y];
          a += value * cos[(k * x) % n];
          b -= value * sin[(k * x) % n];
        }
        re[y * n + k] = a;
        im[y * n + k] = b;
      }
    }
    const power = new Float64Array(n * n);
    for (let k = 0; k < n; k++) {
      for (let l = 0; l < n; l++) {
        let [a, b] = [0, 0];
        for (let y = 0; y < n; y++) {
          const [c, s] = [cos[(l * y) % n], sin[(l * y) % n]];
          a += re[y * n + k] * c + im[y * n + k] * s;
          b += im[y * n + k] * c - re[y * n + k] * s;
        }
        power[((l + n / 2) % n) * n + ((k + n / 2) % n)] = a * a + b * b;
      }
    }
    return power;
  }

  // Draw a spectrum over four decades, with the circle of λ/2α, the finest period that a bright
  // field holds [Å].
  function drawSpectrum(canvas, values, shared, limit) {
    const power = spectrum(values, shared);
    const n = Math.sqrt(power.length);
    const top = Math.log10(extremes(power)[1] || 1);
    const image = new ImageData(n, n);
    power.forEach((value, i) => {
      const grey = 255 * Math.min(Math.max((Math.log10(value + 1e-300) - top + 4) / 4, 0), 1);
      image.data.set([grey, grey, grey, 255], 4 * i);
    });
    const source = document.createElement("canvas");
    source.width = source.height = n;
    source.getContext("2d").putImageData(image, 0, 0);
    const width = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1)) || 400;
    canvas.width = canvas.height = width;
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(source, 0, 0, width, width);
    const nyquist = Math.sqrt(values.length) / shared.field / 2; // Å⁻¹, at the picture's edge
    const line = width / 400;
    pen.lineWidth = 1.5 * line;
    pen.font = `${14 * line}px sans-serif`;
    pen.textAlign = "center";
    for (const [period, words] of [[limit, "λ/2α"], [2 * limit, ""]]) {
      const radius = (1 / period / nyquist) * (width / 2);
      if (radius > width / 2) continue;
      pen.strokeStyle = pen.fillStyle = "#ffd400";
      pen.setLineDash([5 * line, 4 * line]);
      pen.beginPath();
      pen.arc(width / 2, width / 2, radius, 0, 2 * Math.PI);
      pen.stroke();
      const text = `${words ? `${words} = ` : ""}${period.toFixed(2)} Å`;
      pen.fillText(text, width / 2, width / 2 - radius + 18 * line);
    }
    pen.setLineDash([]);
  }

  return { mean, extremes, middle, correlation, drawProfile, drawSpectrum };
})();
