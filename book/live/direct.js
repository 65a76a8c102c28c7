// Counts electrons and solves direct ptychography as misr4d/reconstruction/direct.py does.
// It follows onnxruntime-web's own script in one worker; tests/book/test_live.py compares it with torch.
"use strict";

const complex = (length) => ({ re: new Float64Array(length), im: new Float64Array(length) });

// Uniform numbers in (0, 1) from a seed: xorshift128 (Marsaglia, J. Stat. Softw. 8, 14 (2003)).
function uniform(seed) {
  let [x, y, z, w] = [seed | 0, seed ^ 0x9e3779b9, 0x243f6a88, 0xb7e15162 | 0];
  const next = () => {
    const t = x ^ (x << 11);
    x = y;
    y = z;
    z = w;
    w ^= (w >>> 19) ^ t ^ (t >>> 8);
    return ((w >>> 0) + 0.5) / 2 ** 32;
  };
  for (let i = 0; i < 50; i++) next(); // seeds that differ in few bits part ways
  return next;
}

// Poisson counts of every expected value: inversion, from the mode outwards.
function drawCounts(expected, seed) {
  const random = uniform(seed);
  const most = expected.reduce((a, b) => Math.max(a, b), 0);
  const logFactorial = new Float64Array(Math.floor(most) + 1);
  for (let k = 2; k < logFactorial.length; k++) {
    logFactorial[k] = logFactorial[k - 1] + Math.log(k);
  }
  return expected.map((mean) => {
    if (mean <= 0) return 0;
    const mode = Math.floor(mean);
    const peak = Math.exp(mode * Math.log(mean) - mean - logFactorial[mode]);
    let left = random() - peak;
    let low = mode;
    let high = mode;
    let below = peak;
    let above = peak;
    while (left > 0) {
      above *= mean / ++high;
      left -= above;
      if (left <= 0) return high;
      if (low > 0) {
        below *= low-- / mean;
        left -= below;
        if (left <= 0) return low;
      }
      if (above < 1e-18 && (low === 0 || below < 1e-18)) break; // rounding left a rest
    }
    return mode;
  });
}

// Discrete Fourier transforms of one length, whose prime factors are small.
function fourier(n, sign) {
  const cos = Float64Array.from({ length: n }, (_, i) => Math.cos((2 * Math.PI * i) / n));
  const sin = Float64Array.from({ length: n }, (_, i) => sign * Math.sin((2 * Math.PI * i) / n));
  const [tr, ti] = [new Float64Array(n), new Float64Array(n)];

  function part(size, input, from, stride, output, to) {
    if (size === 1) {
      output.re[to] = input.re[from];
      output.im[to] = input.im[from];
      return;
    }
    let p = 2;
    while (size % p) p++;
    const m = size / p;
    for (let j = 0; j < p; j++) part(m, input, from + j * stride, stride * p, output, to + j * m);
    if (p === 2) halves(m, n / size, output.re, output.im, to);
    else parts(p, m, n / size, output.re, output.im, to);
  }

  function halves(m, turn, re, im, to) {
    for (let k = 0; k < m; k++) {
      const a = to + k;
      const b = a + m;
      const w = k * turn;
      const br = re[b] * cos[w] - im[b] * sin[w];
      const bi = re[b] * sin[w] + im[b] * cos[w];
      re[b] = re[a] - br;
      im[b] = im[a] - bi;
      re[a] += br;
      im[a] += bi;
    }
  }

  function parts(p, m, turn, re, im, to) {
    for (let k = 0; k < m; k++) {
      for (let j = 0; j < p; j++) {
        tr[j] = re[to + j * m + k];
        ti[j] = im[to + j * m + k];
      }
      for (let l = 0; l < p; l++) {
        let sumRe = 0;
        let sumIm = 0;
        for (let j = 0; j < p; j++) {
          const w = (j * (k + l * m) * turn) % n;
          sumRe += tr[j] * cos[w] - ti[j] * sin[w];
          sumIm += tr[j] * sin[w] + ti[j] * cos[w];
        }
        re[to + l * m + k] = sumRe;
        im[to + l * m + k] = sumIm;
      }
    }
  }

  const between = complex(n * n);
  return (input, output) => {
    for (let y = 0; y < n; y++) part(n, input, y, n, between, y * n);
    for (let x = 0; x < n; x++) part(n, between, x, n, output, x * n);
  };
}

// γ of every view, sampled frequency and alias, in units of the view's noise, whose variance is the
// share of the pixel that the disc lights: DirectPtychography._kernel and its _whitening.
function makeKernel(scene) {
  const { size: n, upsampling: r, samples } = scene;
  const fine = n * r;
  const curvature = -Math.PI * scene.wavelength * scene.defocus;
  const limit = ((scene.semiangle * 1e-3) / scene.wavelength) ** 2 * (1 + 1e-9);
  const q = Float64Array.from(
    { length: fine },
    (_, i) => (i < fine / 2 ? i : i - fine) / (n * scene.step),
  );
  // ψ along one axis, exp(i·(χ(k) − χ(k − q))) or its like for k + q, and (k ± q)².
  const axis = (k, sign) => {
    const phase = q.map((f) => curvature * (2 * k * f + sign * f * f));
    return {
      cos: phase.map(Math.cos),
      sin: phase.map(Math.sin),
      square: q.map((f) => (k + sign * f) ** 2),
    };
  };
  const length = n * n * r * r;
  const kernel = {
    re: new Float32Array(scene.views * length),
    im: new Float32Array(scene.views * length),
  };
  const perView = samples.length / scene.views / 2;
  const gamma = complex(length);
  scene.whitening = new Float64Array(scene.views);
  for (let view = 0; view < scene.views; view++) {
    gamma.re.fill(0);
    gamma.im.fill(0);
    let lit = 0;
    for (let s = view * perView; s < (view + 1) * perView; s++) {
      const [kx, ky] = [samples[2 * s], samples[2 * s + 1]];
      if (kx * kx + ky * ky > limit) continue;
      lit += 1 / perView;
      addHalf(axis(kx, -1), axis(ky, -1), limit, 1, scene.contrast, gamma);
      addHalf(axis(kx, 1), axis(ky, 1), limit, -1, scene.contrast, gamma);
    }
    scene.whitening[view] = 1 / Math.sqrt(lit);
    const scale = scene.whitening[view] / perView;
    for (let i = 0; i < length; i++) {
      kernel.re[view * length + i] = gamma.re[scene.grid[i]] * scale;
      kernel.im[view * length + i] = gamma.im[scene.grid[i]] * scale;
    }
  }
  return kernel;
}

// Add ±(1 ± ia)·ψ*·ψ of one side band, where the aperture lets it through.
function addHalf(x, y, limit, sign, contrast, { re, im }) {
  const { cos, sin, square } = y;
  const fine = cos.length;
  for (let i = 0; i < fine; i++) {
    const xc = x.cos[i];
    const xs = x.sin[i];
    const left = limit - x.square[i];
    for (let j = 0; j < fine; j++) {
      if (square[j] > left) continue;
      const c = xc * cos[j] - xs * sin[j];
      const s = xc * sin[j] + xs * cos[j];
      re[i * fine + j] += sign * c - contrast * s;
      im[i * fine + j] += sign * s + contrast * c;
    }
  }
}

// Places on the fine grid of the unknowns, in the order of DirectPtychography._gather.
function gather(n, r) {
  const grid = new Uint32Array(n * n * r * r);
  for (let i = 0; i < grid.length; i++) {
    const [frequency, alias] = [Math.floor(i / (r * r)), i % (r * r)];
    const x = Math.floor(alias / r) * n + Math.floor(frequency / n);
    grid[i] = x * n * r + (alias % r) * n + (frequency % n);
  }
  return grid;
}

// Ring of |q| of every unknown: DirectPtychography._rings.
function makeRings({ size: n, upsampling: r, grid }) {
  const fine = n * r;
  const signed = (i) => (i < fine / 2 ? i : i - fine);
  const radius = Float64Array.from(grid, (i) =>
    Math.hypot(signed(Math.floor(i / fine)), signed(i % fine)),
  );
  const edges = [0.5];
  const last = radius.reduce((a, b) => Math.max(a, b));
  while (edges.at(-1) < last) edges.push(edges.at(-1) + Math.max(1, 0.06 * edges.at(-1)));
  return Uint16Array.from(radius, (value) => edges.findIndex((edge) => value <= edge));
}

// Cholesky factor of one frequency's Gram matrix plus a diagonal, into `factor`.
function factorise(gram, at, a, diagonal, factor) {
  for (let i = 0; i < a; i++) {
    for (let j = 0; j <= i; j++) {
      let re = gram.re[at + i * a + j] + (i === j ? diagonal(i) : 0);
      let im = gram.im[at + i * a + j];
      for (let k = 0; k < j; k++) {
        const u = i * a + k;
        const v = j * a + k;
        re -= factor.re[u] * factor.re[v] + factor.im[u] * factor.im[v];
        im -= factor.im[u] * factor.re[v] - factor.re[u] * factor.im[v];
      }
      if (i === j) {
        factor.re[i * a + i] = Math.sqrt(re);
      } else {
        factor.re[i * a + j] = re / factor.re[j * a + j];
        factor.im[i * a + j] = im / factor.re[j * a + j];
      }
    }
  }
}

// Solve with the factor: a right-hand side of `a` numbers, in place, from `at` on.
function backSolve(factor, a, x, at) {
  for (let i = 0; i < a; i++) {
    for (let k = 0; k < i; k++) {
      const lr = factor.re[i * a + k];
      const li = factor.im[i * a + k];
      x.re[at + i] -= lr * x.re[at + k] - li * x.im[at + k];
      x.im[at + i] -= lr * x.im[at + k] + li * x.re[at + k];
    }
    x.re[at + i] /= factor.re[i * a + i];
    x.im[at + i] /= factor.re[i * a + i];
  }
  backSolveUpper(factor, a, x, at);
}

// Solve with the factor's adjoint alone.
function backSolveUpper(factor, a, x, at) {
  for (let i = a - 1; i >= 0; i--) {
    for (let k = i + 1; k < a; k++) {
      const lr = factor.re[k * a + i];
      const li = -factor.im[k * a + i];
      x.re[at + i] -= lr * x.re[at + k] - li * x.im[at + k];
      x.im[at + i] -= lr * x.im[at + k] + li * x.re[at + k];
    }
    x.re[at + i] /= factor.re[i * a + i];
    x.im[at + i] /= factor.re[i * a + i];
  }
}

// Gram matrix of one frequency, whose unknowns start at `at`: Σ γ*·γ over the views.
function addProducts({ re, im }, unknowns, at, a, gram) {
  const own = complex(a * a);
  for (let start = at; start < re.length; start += unknowns) {
    for (let p = 0; p < a; p++) {
      const pr = re[start + p];
      const pi = im[start + p];
      for (let q = 0; q <= p; q++) {
        own.re[p * a + q] += pr * re[start + q] + pi * im[start + q];
        own.im[p * a + q] += pr * im[start + q] - pi * re[start + q];
      }
    }
  }
  for (let p = 0; p < a; p++) {
    for (let q = 0; q <= p; q++) {
      gram.re[(at + p) * a + q] = gram.re[(at + q) * a + p] = own.re[p * a + q];
      gram.im[(at + p) * a + q] = own.im[p * a + q];
      gram.im[(at + q) * a + p] = -own.im[p * a + q];
    }
  }
}

class Direct {
  constructor(scene) {
    this.scene = scene;
    const { size: n, upsampling: r } = scene;
    this.aliases = r * r;
    this.unknowns = n * n * r * r;
    scene.grid = gather(n, r);
    this.ring = makeRings(scene);
    this.rings = this.ring.reduce((a, b) => Math.max(a, b)) + 1;
    this.kernel = makeKernel(scene);
    this.#normalEquations();
    this.forward = fourier(n, -1);
    this.backward = fourier(n * r, 1);
  }

  #normalEquations() {
    const [a, { kernel, unknowns }] = [this.aliases, this];
    this.gram = complex(unknowns * a);
    for (let i = 0; i < unknowns; i += a) {
      addProducts(kernel, unknowns, i, a, this.gram);
    }
    this.power = this.gram.re.map((re, i) => re * re + this.gram.im[i] ** 2);
    this.weight = Float64Array.from({ length: unknowns }, (_, i) => this.gram.re[i * a + (i % a)]);
    const largest = this.weight.reduce((x, y) => Math.max(x, y));
    this.measured = Uint8Array.from(this.weight, (value) => value > 1e-6 * largest);
    this.floor = 1e-3 * largest;
    // Degrees of freedom of the ridge regression's residual; its hat matrix is 1 − floor·inverse.
    this.freedom = (kernel.re.length / a) | 0;
    const [factor, column] = [complex(a * a), complex(a)];
    for (let i = 0; i < unknowns; i += a) {
      factorise(this.gram, i * a, a, () => this.floor, factor);
      for (let p = 0; p < a; p++) {
        column.re.fill(0);
        column.im.fill(0);
        column.re[p] = 1;
        backSolve(factor, a, column, 0);
        for (let q = 0; q < a; q++) {
          const [re, im] = [(p === q) - this.floor * column.re[q], this.floor * column.im[q]];
          this.freedom += re * re + im * im - (p === q ? 2 * re : 0);
        }
      }
    }
  }

  // The statistic of views that are relative to a fully lit pixel: score, and the noise's variance.
  statistic(views) {
    const [a, { kernel, unknowns }] = [this.aliases, this];
    const positions = unknowns / a;
    const [image, spectrum, score] = [complex(positions), complex(positions), complex(unknowns)];
    let energy = 0;
    for (let view = 0; view < this.scene.views; view++) {
      image.re.set(views.subarray(view * positions, (view + 1) * positions));
      this.forward(image, spectrum);
      const scale = this.scene.whitening[view] / positions;
      for (let f = 1; f < positions; f++) {
        const re = spectrum.re[f] * scale;
        const im = spectrum.im[f] * scale;
        energy += re * re + im * im;
        for (let i = f * a; i < (f + 1) * a; i++) {
          const kr = kernel.re[view * unknowns + i];
          const ki = kernel.im[view * unknowns + i];
          score.re[i] += kr * im - ki * re; // −i·γ*·I
          score.im[i] -= kr * re + ki * im;
        }
      }
    }
    const whole = energy;
    const rough = this.#solve(score, () => this.floor);
    for (let i = 0; i < unknowns; i++) {
      energy -= rough.re[i] * score.re[i] + rough.im[i] * score.im[i];
      energy -= this.floor * (rough.re[i] ** 2 + rough.im[i] ** 2);
    }
    return { score, energy: whole, noise: Math.max(energy / this.freedom, 1e-16) };
  }

  #solve(score, damping) {
    const a = this.aliases;
    const x = { re: score.re.slice(), im: score.im.slice() };
    const factor = complex(a * a);
    for (let i = 0; i < this.unknowns; i += a) {
      factorise(this.gram, i * a, a, (p) => damping(i + p), factor);
      backSolve(factor, a, x, i);
    }
    return x;
  }

  // The object's isotropic power spectrum, ring by ring: DirectPtychography._spectrum.
  #spectrum({ score, noise }) {
    const [a, { unknowns, ring, rings, weight }] = [this.aliases, this];
    let [power, known] = [new Float64Array(rings), new Float64Array(rings)];
    for (let iteration = 0; iteration < 15; iteration++) {
      const [above, below] = [new Float64Array(rings), new Float64Array(rings)];
      known.fill(0);
      for (let i = 0; i < unknowns; i++) {
        if (!this.measured[i]) continue;
        const first = i - (i % a);
        let model = noise * weight[i];
        for (let p = 0; p < a; p++) model += this.power[i * a + p] * power[ring[first + p]];
        const square = weight[i] ** 2;
        const own = square * power[ring[i]];
        const inverse = square / model ** 2;
        const observed = score.re[i] ** 2 + score.im[i] ** 2;
        above[ring[i]] += (observed - model + own) * inverse;
        below[ring[i]] += square * inverse;
        known[ring[i]] += (square / Math.max(model - own, 1e-37)) ** 2;
      }
      power = above.map((value, i) => (below[i] > 0 ? Math.max(value / below[i], 0) : 0));
    }
    // A ring that is hardly known is drawn towards its neighbours, each by its error.
    const smooth = power.map((value, i) => {
      let [sum, total] = [0, 0];
      for (let j = -2; j <= 2; j++) {
        if (i + j < 1 || i + j >= rings) continue;
        sum += (3 - Math.abs(j)) * power[i + j] * known[i + j];
        total += (3 - Math.abs(j)) * known[i + j];
      }
      const near = sum / Math.max(total, 1e-37);
      const trusted = known[i] * (3 * near) ** 2;
      return Math.max((value * trusted + near) / (trusted + 1), 0.1 * near, 1e-14);
    });
    smooth[0] = smooth[1];
    return smooth;
  }

  #image(phase, scale) {
    const fine = this.scene.size * this.scene.upsampling;
    const [spectrum, image] = [complex(fine * fine), complex(fine * fine)];
    for (let i = 0; i < this.unknowns; i++) {
      if (!this.measured[i] || this.ring[i] === 0) continue;
      spectrum.re[this.scene.grid[i]] = phase.re[i] * scale(i);
      spectrum.im[this.scene.grid[i]] = phase.im[i] * scale(i);
    }
    this.backward(spectrum, image);
    return image.re;
  }

  // What the network starts from: misr4d.networks.direct_features.
  features(statistic) {
    const { score, noise } = statistic;
    const spectrum = this.#spectrum(statistic);
    statistic.damping = (i) => noise / spectrum[this.ring[i]];
    const fine = this.scene.size * this.scene.upsampling;
    const images = [1, 10].map((signalScale) => {
      const phase = this.#solve(score, (i) => statistic.damping(i) / signalScale);
      if (signalScale === 1) statistic.phase = phase;
      return this.#image(phase, () => 1);
    });
    const white = (i) => 1 / Math.sqrt(Math.max(this.weight[i], 1e-12) * noise) / fine;
    images.push(this.#image(score, white));
    const maps = new Float32Array(3 * fine * fine);
    images.forEach((image, index) => maps.set(image, index * fine * fine));
    return maps;
  }

  // An image drawn from what the electrons leave open under the method's own prior: Gaussian, with
  // the precision (Gram + noise/spectrum)/noise about the estimate. A statistic needs its features first.
  sample({ noise, damping, phase }, seed) {
    const a = this.aliases;
    const random = uniform(seed);
    const drawn = { re: phase.re.slice(), im: phase.im.slice() };
    const [factor, change] = [complex(a * a), complex(a)];
    for (let i = 0; i < this.unknowns; i += a) {
      factorise(this.gram, i * a, a, (p) => damping(i + p), factor);
      for (let p = 0; p < a; p++) {
        // Real part and imaginary part of variance `noise` each: half of it is in the image's
        // imaginary part, which is dropped.
        const size = Math.sqrt(-2 * noise * Math.log(random()));
        const angle = 2 * Math.PI * random();
        change.re[p] = size * Math.cos(angle);
        change.im[p] = size * Math.sin(angle);
      }
      backSolveUpper(factor, a, change, 0);
      for (let p = 0; p < a; p++) {
        drawn.re[i + p] += change.re[p];
        drawn.im[i + p] += change.im[p];
      }
    }
    return this.#image(drawn, () => 1);
  }

  // How well an image explains the electrons, in the weak-phase equations: what it leaves of the
  // views' spectra over what the counting noise alone would, so 1 for the truth of a weak object.
  misfit({ score, noise, energy }, image) {
    const { grid, size, upsampling } = this.scene;
    const [a, fine] = [this.aliases, size * upsampling];
    const [input, spectrum] = [complex(fine * fine), complex(fine * fine)];
    input.re.set(image);
    fourier(fine, -1)(input, spectrum);
    let rest = energy;
    for (let i = a; i < this.unknowns; i++) {
      const first = i - (i % a);
      const scale = 1 / (fine * fine);
      const re = spectrum.re[grid[i]] * scale;
      const im = spectrum.im[grid[i]] * scale;
      rest -= 2 * (re * score.re[i] + im * score.im[i]);
      for (let q = 0; q < a; q++) {
        const or = spectrum.re[grid[first + q]] * scale;
        const oi = spectrum.im[grid[first + q]] * scale;
        const gr = this.gram.re[i * a + q];
        const gi = this.gram.im[i * a + q];
        rest += re * (gr * or - gi * oi) + im * (gr * oi + gi * or);
      }
    }
    return rest / (noise * this.scene.views * (this.unknowns / a - 1));
  }
}
