// What a reader makes of a specimen: atoms taken out or put in, and the views of a thin object.
"use strict";

// exp(iφ) imaged by every plane wave at the scan's positions: misr4d.reconstruction.forward's
// ExpectedViews with one slice. A wave's spectrum is folded onto the scan's frequencies first, which
// gives the wave at the positions themselves.
function thinViews(scene, phase) {
  const { size: n, upsampling: r, samples } = scene;
  const fine = n * r;
  const limit = ((scene.semiangle * 1e-3) / scene.wavelength) ** 2 * (1 + 1e-9);
  const curvature = -Math.PI * scene.wavelength * scene.defocus;
  const object = complex(fine * fine);
  const spectrum = complex(fine * fine);
  for (let i = 0; i < fine * fine; i++) {
    object.re[i] = Math.cos(phase[i]) / (fine * fine);
    object.im[i] = Math.sin(phase[i]) / (fine * fine);
  }
  fourier(fine, -1)(object, spectrum);
  const q = Float64Array.from(
    { length: fine },
    (_, i) => (i < fine / 2 ? i : i - fine) / (n * scene.step),
  );
  const inside = (k) => {
    const at = [];
    q.forEach((f, i) => {
      if ((f - k) ** 2 > limit) return;
      const angle = -curvature * (f - k) ** 2;
      at.push({ i, fold: i % n, square: (f - k) ** 2, cos: Math.cos(angle), sin: Math.sin(angle) });
    });
    return at;
  };
  const backward = fourier(n, 1);
  const [folded, wave] = [complex(n * n), complex(n * n)];
  const perView = samples.length / scene.views / 2;
  const views = new Float32Array(scene.views * n * n);
  for (let s = 0; s < samples.length / 2; s++) {
    const view = Math.floor(s / perView) * n * n;
    const [kx, ky] = [samples[2 * s], samples[2 * s + 1]];
    folded.re.fill(0);
    folded.im.fill(0);
    const columns = inside(ky);
    for (const row of inside(kx)) {
      for (const column of columns) {
        if (row.square + column.square > limit) continue;
        const from = row.i * fine + column.i;
        const to = row.fold * n + column.fold;
        const c = row.cos * column.cos - row.sin * column.sin;
        const d = row.sin * column.cos + row.cos * column.sin;
        folded.re[to] += spectrum.re[from] * c - spectrum.im[from] * d;
        folded.im[to] += spectrum.re[from] * d + spectrum.im[from] * c;
      }
    }
    backward(folded, wave);
    for (let i = 0; i < n * n; i++) {
      views[view + i] += (wave.re[i] ** 2 + wave.im[i] ** 2) / perView;
    }
  }
  return views;
}

// Phase of atoms [rad] on the fine grid, from the spectrum of one of each element.
function atomPhase(scene, atoms) {
  const fine = scene.size * scene.upsampling;
  const length = scene.size * scene.step;
  const spectrum = complex(fine * fine);
  const cut = ((2e-3 * scene.semiangle) / scene.wavelength) * length * (1 + 1e-9);
  for (const { x, y, element } of atoms) {
    const table = scene.elements[element];
    const turn = (at) => {
      const half = table.length;
      return Array.from({ length: 2 * half + 1 }, (_, j) => {
        const angle = (-2 * Math.PI * (j - half) * at) / length;
        return [Math.cos(angle), Math.sin(angle)];
      });
    };
    const [tx, ty, half] = [turn(x), turn(y), table.length];
    for (let i = 1 - half; i < half; i++) {
      for (let j = 1 - half; j < half; j++) {
        const radius = Math.hypot(i, j);
        const low = Math.floor(radius);
        if (radius > cut) continue;
        const rest = radius - low;
        const value = rest ? table[low] * (1 - rest) + table[low + 1] * rest : table[low];
        const [[ci, si], [cj, sj]] = [tx[i + half], ty[j + half]];
        const to = ((i + fine) % fine) * fine + ((j + fine) % fine);
        spectrum.re[to] += value * (ci * cj - si * sj);
        spectrum.im[to] += value * (ci * sj + si * cj);
      }
    }
  }
  const image = complex(fine * fine);
  fourier(fine, 1)(spectrum, image);
  return image.re.map((value) => value / length ** 2);
}
