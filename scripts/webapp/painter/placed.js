// A picture or a text that is being placed: moved, scaled and turned until it is put down as paint.

import { within } from "./paint_layer.js";

const HANDLE = 7; // pixels of the page
const SMALLEST = 2; // texels

export class Placed {
  // source: what drawImage takes, w x h; it lies around the middle (x, y)
  constructor(source, w, h, x, y, scale) {
    Object.assign(this, { source, w, h, x, y, scale, turn: 0 });
  }

  // Replace what is shown (a text that was changed), staying in place.
  show(source, w, h) {
    Object.assign(this, { source, w, h });
  }

  // A place of the atlas in the picture's own coordinates, around its middle.
  own(x, y) {
    const c = Math.cos(this.turn);
    const s = Math.sin(this.turn);
    const dx = x - this.x;
    const dy = y - this.y;
    return { x: (dx * c + dy * s) / this.scale, y: (dy * c - dx * s) / this.scale };
  }

  corners() {
    const c = Math.cos(this.turn) * this.scale;
    const s = Math.sin(this.turn) * this.scale;
    return [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([a, b]) => ({
      x: this.x + (a * this.w * c - b * this.h * s) / 2,
      y: this.y + (a * this.w * s + b * this.h * c) / 2,
    }));
  }

  // Where it is turned: above the middle of its upper side.
  knob(unit) {
    const reach = (this.h * this.scale) / 2 + 24 * unit;
    return { x: this.x + Math.sin(this.turn) * reach, y: this.y - Math.cos(this.turn) * reach };
  }

  // Take hold at a place: what a drag from there does. unit: texels for a pixel of the page.
  grab(at, unit) {
    const near = (p) => Math.hypot(p.x - at.x, p.y - at.y) < 2 * HANDLE * unit;
    const start = { x: this.x, y: this.y, scale: this.scale };
    if (near(this.knob(unit))) return (to) => (this.turn = Math.atan2(to.x - this.x, this.y - to.y));
    if (this.corners().some(near)) {
      const reach = Math.hypot(at.x - this.x, at.y - this.y);
      return (to) => {
        const least = SMALLEST / Math.min(this.w, this.h);
        this.scale = Math.max(least, (start.scale * Math.hypot(to.x - this.x, to.y - this.y)) / reach);
      };
    }
    return (to) => {
      this.x = start.x + to.x - at.x;
      this.y = start.y + to.y - at.y;
    };
  }

  draw(c) {
    c.save();
    c.translate(this.x, this.y);
    c.rotate(this.turn);
    c.scale(this.scale, this.scale);
    c.imageSmoothingQuality = "high";
    c.drawImage(this.source, -this.w / 2, -this.h / 2, this.w, this.h);
    c.restore();
  }

  drawHandles(c, unit, colour) {
    const corners = this.corners();
    c.lineWidth = 1.5 * unit;
    c.strokeStyle = colour;
    c.fillStyle = "white";
    c.beginPath();
    corners.forEach((p, i) => (i ? c.lineTo(p.x, p.y) : c.moveTo(p.x, p.y)));
    c.closePath();
    c.stroke();
    for (const p of corners) {
      c.fillRect(p.x - HANDLE * unit / 2, p.y - HANDLE * unit / 2, HANDLE * unit, HANDLE * unit);
      c.strokeRect(p.x - HANDLE * unit / 2, p.y - HANDLE * unit / 2, HANDLE * unit, HANDLE * unit);
    }
    const knob = this.knob(unit);
    c.beginPath();
    c.arc(knob.x, knob.y, HANDLE * unit * 0.7, 0, 7);
    c.fill();
    c.stroke();
  }

  // Put it down as paint; returns the rectangle that changed, null where it lies outside.
  putDown(layer, opacity) {
    const corners = this.corners();
    const xs = corners.map((p) => p.x);
    const ys = corners.map((p) => p.y);
    const left = Math.min(...xs);
    const top = Math.min(...ys);
    const rect = within({ x: left, y: top, w: Math.max(...xs) - left, h: Math.max(...ys) - top }, layer.width, layer.height);
    if (!rect) return null;
    const canvas = Object.assign(document.createElement("canvas"), { width: rect.w, height: rect.h });
    const c = canvas.getContext("2d", { willReadFrequently: true });
    c.translate(-rect.x, -rect.y);
    this.draw(c);
    const { data } = c.getImageData(0, 0, rect.w, rect.h);
    layer.begin();
    layer.lay(rect, data, (i) => (data[4 * i + 3] / 255) * opacity);
    return layer.end() ? rect : null;
  }
}

// A text as a picture, in texels.
export function drawText(words, colour, size) {
  const lines = (words || " ").split("\n");
  const canvas = document.createElement("canvas");
  const font = `600 ${size}px ${getComputedStyle(document.documentElement).getPropertyValue("--type")}`;
  let c = canvas.getContext("2d");
  c.font = font;
  canvas.width = Math.max(1, Math.ceil(Math.max(...lines.map((line) => c.measureText(line).width))) + 4);
  canvas.height = Math.ceil(lines.length * size * 1.25);
  c = canvas.getContext("2d");
  c.font = font;
  c.fillStyle = colour;
  c.textBaseline = "middle";
  lines.forEach((line, i) => c.fillText(line, 2, (i + 0.5) * size * 1.25));
  return canvas;
}
