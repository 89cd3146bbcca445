// The view of the atlas: pan and zoom, the atlas with the paint over it, and above them the brush and what is being placed.

import { union } from "./paint_layer.js";

const CHECKER = 8; // pixels of the page
const LEAST = 1 / 32;
const MOST = 32;

export class View {
  constructor(stage, below, above) {
    this.stage = stage;
    this.below = below;
    this.above = above;
    this.context = below.getContext("2d", { alpha: false });
    this.overlay = above.getContext("2d");
    this.scale = 1; // pixels of the page for a texel
    this.x = 0; // where the atlas's corner lies on the page
    this.y = 0;
    this.layers = [];
    this.size = { w: 1, h: 1 };
    this.onZoom = () => {};
    this.drawOver = () => {};
    this.waiting = false;
    this.dirty = null;
    new ResizeObserver(() => this.resize()).observe(stage);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    this.resize();
  }

  // Show canvases or images of the atlas's size, one over the other.
  open(layers, w, h, seen) {
    this.layers = layers;
    this.size = { w, h };
    this.seen = seen; // what `fit` shows: x, y, w, h
    this.fit();
  }

  resize() {
    const ratio = devicePixelRatio || 1;
    for (const canvas of [this.below, this.above]) {
      canvas.width = Math.max(1, Math.round(this.stage.clientWidth * ratio));
      canvas.height = Math.max(1, Math.round(this.stage.clientHeight * ratio));
    }
    this.ratio = ratio;
    this.redraw();
  }

  fit() {
    const { clientWidth, clientHeight } = this.stage;
    const { x, y, w, h } = this.seen;
    this.scale = Math.min(MOST, Math.max(LEAST, Math.min((clientWidth - 48) / w, (clientHeight - 48) / h)));
    this.x = clientWidth / 2 - (x + w / 2) * this.scale;
    this.y = clientHeight / 2 - (y + h / 2) * this.scale;
    this.onZoom();
    this.redraw();
  }

  // Zoom by a factor, keeping the place under a point of the page (default: the middle).
  zoom(factor, px = this.stage.clientWidth / 2, py = this.stage.clientHeight / 2) {
    const scale = Math.min(MOST, Math.max(LEAST, this.scale * factor));
    this.x = px - ((px - this.x) * scale) / this.scale;
    this.y = py - ((py - this.y) * scale) / this.scale;
    this.scale = scale;
    this.onZoom();
    this.redraw();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.redraw();
  }

  // Bring a texel into the middle.
  centre(x, y) {
    this.x = this.stage.clientWidth / 2 - x * this.scale;
    this.y = this.stage.clientHeight / 2 - y * this.scale;
    this.redraw();
  }

  // The texel under a pointer event, with its fraction.
  texel(event) {
    const box = this.above.getBoundingClientRect();
    return { x: (event.clientX - box.left - this.x) / this.scale, y: (event.clientY - box.top - this.y) / this.scale };
  }

  // Draw again: all, or what lies in a rectangle of the atlas.
  redraw(rect = null) {
    this.dirty = rect && this.dirty !== "all" ? union(this.dirty, rect) : "all";
    this.soon();
  }

  redrawOver() {
    this.soon();
  }

  soon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      if (this.dirty) this.draw();
      const { overlay: c, ratio } = this;
      c.setTransform(1, 0, 0, 1, 0, 0);
      c.clearRect(0, 0, this.above.width, this.above.height);
      c.setTransform(ratio * this.scale, 0, 0, ratio * this.scale, ratio * this.x, ratio * this.y);
      this.drawOver(c, 1 / this.scale);
    });
  }

  draw() {
    const { context: c, ratio, dirty } = this;
    const style = getComputedStyle(document.documentElement);
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.save();
    if (dirty !== "all") {
      const s = ratio * this.scale;
      const left = Math.floor(ratio * this.x + dirty.x * s) - 2;
      const top = Math.floor(ratio * this.y + dirty.y * s) - 2;
      c.beginPath();
      c.rect(left, top, Math.ceil(dirty.w * s) + 4, Math.ceil(dirty.h * s) + 4);
      c.clip();
    }
    this.dirty = null;
    c.fillStyle = style.getPropertyValue("--sunk");
    c.fillRect(0, 0, this.below.width, this.below.height);
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.fillStyle = this.checker(style);
    c.fillRect(this.x, this.y, this.size.w * this.scale, this.size.h * this.scale);
    c.setTransform(ratio * this.scale, 0, 0, ratio * this.scale, ratio * this.x, ratio * this.y);
    c.imageSmoothingEnabled = this.scale * ratio < 2; // single texels are to be seen as such
    c.imageSmoothingQuality = "medium";
    for (const layer of this.layers) c.drawImage(layer, 0, 0);
    c.restore();
  }

  checker(style) {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    if (this.checkerOf !== dark) {
      const tile = Object.assign(document.createElement("canvas"), { width: 2 * CHECKER, height: 2 * CHECKER });
      const c = tile.getContext("2d");
      c.fillStyle = style.getPropertyValue("--checker-a");
      c.fillRect(0, 0, 2 * CHECKER, 2 * CHECKER);
      c.fillStyle = style.getPropertyValue("--checker-b");
      c.fillRect(0, 0, CHECKER, CHECKER);
      c.fillRect(CHECKER, CHECKER, CHECKER, CHECKER);
      this.checkerOf = dark;
      this.pattern = this.context.createPattern(tile, "repeat");
    }
    return this.pattern;
  }
}
