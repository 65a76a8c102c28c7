// Pictures that share one window and one cursor: zoom into one and all of them follow.
"use strict";

const pictures = (() => {
  const all = [];
  const listeners = [];
  const NEAREST = 16; // how far one may zoom in: 192 pixels to 12
  const shared = { x: 0.5, y: 0.5, zoom: 1, cursor: null, marks: [], field: 64 };

  // Colours from stops at equal distances.
  const between = (stops) => (t) => {
    const at = Math.min(Math.max(t, 0), 1) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    return stops[low].map((value, i) => value + (at - low) * (stops[low + 1][i] - value));
  };
  const GREY = [[0, 0, 0], [255, 255, 255]];
  const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const SIGNED = [[33, 102, 172], [146, 197, 222], [247, 247, 247], [244, 165, 130], [178, 24, 43]];
  const colours = { grey: GREY, map: VIRIDIS, signed: SIGNED };

  const number = (value) => `${+value.toPrecision(2)}`.replace("-", "−");

  function clampWindow() {
    const half = 0.5 / shared.zoom;
    shared.x = Math.min(Math.max(shared.x, half), 1 - half);
    shared.y = Math.min(Math.max(shared.y, half), 1 - half);
  }

  function refresh() {
    clampWindow();
    all.forEach((picture) => picture.paint());
    listeners.forEach((listener) => listener(shared));
  }

  let frame;
  function later() {
    frame ??= requestAnimationFrame(() => {
      frame = null;
      refresh();
    });
  }

  // Zoom so that the place (x, y) of the field stays where it is.
  function zoomAt(x, y, factor) {
    const before = shared.zoom;
    shared.zoom = Math.min(Math.max(before * factor, 1), NEAREST);
    const share = before / shared.zoom;
    shared.x = x + (shared.x - x) * share;
    shared.y = y + (shared.y - y) * share;
    later();
  }

  class Picture {
    constructor(figure) {
      this.figure = figure;
      this.canvas = figure.querySelector("canvas");
      this.title = figure.querySelector("strong");
      this.said = figure.querySelector(".live-said");
      this.scale = figure.querySelector(".live-scale");
      this.bar = figure.querySelector(".live-bar");
      this.canvas.tabIndex = 0;
      this.pointers = new Map();
      this.listen();
      all.push(this);
    }

    // Values on a square grid, in colours from `low` to `high`; `unit` stands on their scale.
    show(values, { low, high, unit, said, colour = "grey" }) {
      const paint = between(colours[colour]);
      this.showColours(values.length, (i) => paint((values[i] - low) / (high - low || 1)), said);
      this.values = values;
      this.unit = unit;
      const ramp = colours[colour].map((rgb) => `rgb(${rgb.map(Math.round)})`).join(", ");
      this.scale.innerHTML = "<span></span><i></i><span></span>";
      const [left, box, right] = this.scale.children;
      left.textContent = number(low);
      right.textContent = `${number(high)} ${unit}`;
      box.style.background = `linear-gradient(to right, ${ramp})`;
    }

    showColours(length, colour, said) {
      this.values = null;
      const side = Math.sqrt(length);
      const pixels = new ImageData(side, side);
      for (let i = 0; i < length; i++) {
        const [r, g, b] = colour(i);
        pixels.data.set([r, g, b, 255], 4 * i);
      }
      this.source = document.createElement("canvas");
      this.source.width = this.source.height = side;
      this.source.getContext("2d").putImageData(pixels, 0, 0);
      this.scale.textContent = "";
      this.words = said;
      this.canvas.setAttribute("aria-label", `${this.title.textContent}: ${said}`);
      this.paint();
    }

    clear(said) {
      this.source = this.values = null;
      this.words = said;
      this.scale.textContent = "";
      this.canvas.setAttribute("aria-label", `${this.title.textContent}: ${said}`);
      this.paint();
    }

    paint() {
      const width = Math.round(this.canvas.clientWidth * (window.devicePixelRatio || 1)) || 400;
      if (this.canvas.width !== width) this.canvas.width = this.canvas.height = width;
      const pen = this.canvas.getContext("2d");
      pen.clearRect(0, 0, width, width);
      this.canvas.style.touchAction = shared.zoom > 1 ? "none" : "pan-y";
      if (!this.source) {
        this.said.textContent = this.words ?? "";
        return;
      }
      this.draw(pen, width);
      this.drawMarks(pen, width);
      this.setBar();
      const value = this.atCursor();
      this.said.textContent = value === null ? this.words
        : `${this.words} · under the cursor ${number(value)} ${this.unit}`;
    }

    draw(pen, width) {
      const side = this.source.width;
      const seen = side / shared.zoom;
      pen.imageSmoothingEnabled = false;
      pen.drawImage(
        this.source, (shared.y * side - seen / 2), (shared.x * side - seen / 2), seen, seen,
        0, 0, width, width,
      );
    }

    // Pixels of the canvas at a place of the field.
    toCanvas({ x, y }, width) {
      const at = (value, middle) => ((value - middle) * shared.zoom + 0.5) * width;
      return [at(y, shared.y), at(x, shared.x)];
    }

    drawMarks(pen, width) {
      const line = Math.max(1, width / 400);
      for (const mark of shared.marks) {
        const [left, top] = this.toCanvas(mark, width);
        for (const [colour, thick] of [["#000", 3], ["#ffd400", 1.5]]) {
          pen.strokeStyle = colour;
          pen.lineWidth = thick * line;
          pen.beginPath();
          pen.arc(left, top, (1.6 / shared.field) * shared.zoom * width, 0, 2 * Math.PI);
          pen.stroke();
        }
      }
      if (!shared.cursor) return;
      const [left, top] = this.toCanvas(shared.cursor, width);
      for (const [colour, thick] of [["#0008", 3], ["#ffd400", 1]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = thick * line;
        pen.beginPath();
        pen.moveTo(0, top);
        pen.lineTo(width, top);
        pen.moveTo(left, top - 12 * line);
        pen.lineTo(left, top + 12 * line);
        pen.stroke();
      }
    }

    setBar() {
      const seen = shared.field / shared.zoom;
      const length = [100, 50, 20, 10, 5, 2, 1].find((one) => one < 0.4 * seen) ?? 1;
      this.bar.style.width = `${(100 * length) / seen}%`;
      this.bar.textContent = `${length} Å`;
    }

    atCursor() {
      if (!this.values || !shared.cursor) return null;
      const side = Math.sqrt(this.values.length);
      const at = (value) => Math.min(Math.max(Math.floor(value * side), 0), side - 1);
      return this.values[at(shared.cursor.x) * side + at(shared.cursor.y)];
    }

    place(event) {
      const box = this.canvas.getBoundingClientRect();
      return {
        x: shared.x + ((event.clientY - box.top) / box.height - 0.5) / shared.zoom,
        y: shared.y + ((event.clientX - box.left) / box.width - 0.5) / shared.zoom,
      };
    }

    listen() {
      const { canvas, pointers } = this;
      canvas.addEventListener("pointerdown", (event) => {
        pointers.set(event.pointerId, event);
        if (shared.zoom > 1 || pointers.size > 1) canvas.setPointerCapture(event.pointerId);
        shared.cursor = this.place(event);
        later();
      });
      canvas.addEventListener("pointermove", (event) => this.move(event));
      for (const end of ["pointerup", "pointercancel", "pointerleave"]) {
        canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
      }
      canvas.addEventListener("dblclick", (event) => {
        const { x, y } = this.place(event);
        zoomAt(x, y, 2);
      });
      canvas.addEventListener("wheel", (event) => {
        if (!event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        const { x, y } = this.place(event);
        zoomAt(x, y, Math.exp(-event.deltaY / 200));
      }, { passive: false });
      canvas.addEventListener("keydown", (event) => this.key(event));
    }

    move(event) {
      const { canvas, pointers } = this;
      const before = pointers.get(event.pointerId);
      if (pointers.size === 2 && before) {
        const [other] = [...pointers.values()].filter((one) => one.pointerId !== event.pointerId);
        const apart = (a) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY);
        const { x, y } = this.place(event);
        zoomAt(x, y, apart(event) / Math.max(apart(before), 1));
      } else if (before && shared.zoom > 1) {
        const scale = 1 / (canvas.clientWidth * shared.zoom);
        shared.x -= (event.clientY - before.clientY) * scale;
        shared.y -= (event.clientX - before.clientX) * scale;
        later();
      } else if (event.pointerType !== "touch" || before) {
        shared.cursor = this.place(event);
        later();
      }
      if (before) pointers.set(event.pointerId, event);
    }

    key(event) {
      const step = (event.shiftKey ? 8 : 1) / 192;
      const cursor = shared.cursor ?? { x: shared.x, y: shared.y };
      const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      if (moves[event.key]) {
        const [dx, dy] = moves[event.key];
        const inside = (value) => Math.min(Math.max(value, 0), 1 - 1e-9);
        shared.cursor = { x: inside(cursor.x + dx * step), y: inside(cursor.y + dy * step) };
        const half = 0.5 / shared.zoom;
        shared.x = Math.min(Math.max(shared.x, shared.cursor.x - half), shared.cursor.x + half);
        shared.y = Math.min(Math.max(shared.y, shared.cursor.y - half), shared.cursor.y + half);
        later();
      } else if (event.key === "+" || event.key === "=") zoomAt(cursor.x, cursor.y, 2);
      else if (event.key === "-") zoomAt(cursor.x, cursor.y, 0.5);
      else if (event.key === "0") whole();
      else return;
      event.preventDefault();
    }
  }

  function whole() {
    Object.assign(shared, { x: 0.5, y: 0.5, zoom: 1 });
    later();
  }

  function zoom(factor) {
    const { x, y } = shared.cursor ?? shared;
    zoomAt(x, y, factor);
  }

  window.addEventListener("resize", later);

  return { Picture, shared, refresh, zoom, whole, number, onChange: (f) => listeners.push(f) };
})();
