// A stroke: dabs along the pointer's way. Within one stroke coverage is the largest of the dabs', so that it does not
// build up where they overlap, and opacity applies to the stroke as a whole.

import { TILE, over, union, within } from "./paint_layer.js";

const SPACING = 0.12; // of the radius, between dabs

export class Stroke {
  // brush: { colour: [r, g, b], radius, softness, opacity, erase, pressure }, lengths in texels, shares in [0, 1]
  constructor(layer, brush) {
    this.layer = layer;
    this.brush = brush;
    this.cover = new Map(); // tile -> how far the stroke covers each of its texels
    this.last = null;
    layer.begin();
  }

  // Draw on to a place; returns the rectangle that changed, null where none did.
  to(x, y, pressure) {
    const radius = Math.max(0.5, this.brush.radius * (this.brush.pressure ? pressure : 1));
    const here = { x, y, radius };
    if (!this.last) {
      this.last = here;
      return this.dab(here);
    }
    const from = this.last;
    const distance = Math.hypot(x - from.x, y - from.y);
    const step = Math.max(0.5, SPACING * Math.min(radius, from.radius) * (1 + this.brush.softness));
    let dirty = null;
    let along = step;
    for (; along <= distance; along += step) {
      const share = along / distance;
      this.last = {
        x: from.x + (x - from.x) * share,
        y: from.y + (y - from.y) * share,
        radius: from.radius + (radius - from.radius) * share,
      };
      dirty = union(dirty, this.dab(this.last));
    }
    return dirty;
  }

  end() {
    return this.layer.end();
  }

  dab({ x, y, radius }) {
    const { layer } = this;
    const reach = radius + 1;
    const rect = within({ x: x - reach, y: y - reach, w: 2 * reach, h: 2 * reach }, layer.width, layer.height);
    if (!rect) return null;
    for (const number of layer.tilesIn(rect)) this.dabTile(number, rect, x, y, radius);
    layer.show(rect);
    return rect;
  }

  dabTile(number, rect, centreX, centreY, radius) {
    const { layer, brush } = this;
    const { pixels } = layer;
    const tile = layer.tileRect(number);
    const base = layer.before(number);
    let cover = this.cover.get(number);
    if (!cover) this.cover.set(number, (cover = new Float32Array(TILE * TILE)));
    const [red, green, blue] = brush.colour;
    const core = radius * (1 - brush.softness);
    const fade = Math.max(radius - core, 1e-6);
    const left = Math.max(tile.x, rect.x);
    const right = Math.min(tile.x + tile.w, rect.x + rect.w);
    const bottom = Math.min(tile.y + tile.h, rect.y + rect.h);
    for (let y = Math.max(tile.y, rect.y); y < bottom; y++) {
      const dy = y + 0.5 - centreY;
      for (let x = left; x < right; x++) {
        const dx = x + 0.5 - centreX;
        const distance = Math.sqrt(dx * dx + dy * dy);
        if (distance >= radius + 0.5) continue;
        let share = Math.min(1, radius + 0.5 - distance); // a texel that the edge cuts
        if (distance > core) {
          const t = Math.max(0, (radius - distance) / fade);
          share = Math.min(share, brush.softness > 0 ? t * t * (3 - 2 * t) : share);
        }
        const at = (y - tile.y) * tile.w + (x - tile.x);
        if (share <= cover[at]) continue;
        cover[at] = share;
        const strength = share * brush.opacity;
        const place = (y * layer.width + x) * 4;
        if (brush.erase) {
          pixels[place + 3] = base[4 * at + 3] * (1 - strength);
          if (!pixels[place + 3]) pixels[place] = pixels[place + 1] = pixels[place + 2] = 0;
        } else {
          over(pixels, place, base, 4 * at, red, green, blue, strength);
        }
      }
    }
  }
}
