// The paint: RGBA bytes over the whole atlas, not premultiplied, and what undoes and redoes each change of them, in tiles.
//
// A canvas keeps colours premultiplied by alpha and does not give them back as they were: it only shows the paint here.

export const TILE = 128;
const MOST_HISTORY = 256 * 1024 * 1024; // bytes

export class PaintLayer {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.pixels = new Uint8ClampedArray(width * height * 4);
    this.image = new ImageData(this.pixels, width, height);
    this.canvas = Object.assign(document.createElement("canvas"), { width, height });
    this.context = this.canvas.getContext("2d");
    this.across = Math.ceil(width / TILE);
    this.done = [];
    this.undone = [];
    this.open = null;
  }

  // Take all paint from the server's bytes.
  load(bytes) {
    this.pixels.set(bytes);
    this.show({ x: 0, y: 0, w: this.width, h: this.height });
  }

  // Start one change, to be undone as one. Tiles have to be kept before they are written.
  begin() {
    this.open = new Map();
  }

  // The place of a tile in the atlas.
  tileRect(number) {
    const x = (number % this.across) * TILE;
    const y = Math.floor(number / this.across) * TILE;
    return { x, y, w: Math.min(TILE, this.width - x), h: Math.min(TILE, this.height - y) };
  }

  // The numbers of the tiles that a rectangle touches.
  tilesIn(rect) {
    const numbers = [];
    for (let row = Math.floor(rect.y / TILE); row * TILE < rect.y + rect.h; row++) {
      for (let column = Math.floor(rect.x / TILE); column * TILE < rect.x + rect.w; column++) {
        numbers.push(row * this.across + column);
      }
    }
    return numbers;
  }

  // A tile as it was before the change at hand; it is kept the first time it is asked for.
  before(number) {
    let tile = this.open.get(number);
    if (!tile) {
      tile = this.bytes(this.tileRect(number));
      this.open.set(number, tile);
    }
    return tile;
  }

  // End the change; returns whether there was one.
  end() {
    const change = this.open;
    this.open = null;
    if (!change || !change.size) return false;
    this.done.push(change);
    this.undone = [];
    let held = 0;
    for (let i = this.done.length - 1; i >= 0; i--) {
      held += this.done[i].size * TILE * TILE * 4;
      if (held > MOST_HISTORY && i < this.done.length - 1) {
        this.done.splice(0, i + 1);
        break;
      }
    }
    return true;
  }

  // Give the change at hand up; returns the rectangle that is as it was again.
  abandon() {
    const change = this.open;
    this.open = null;
    return change && change.size ? this.swap(change) : null;
  }

  undo() {
    return this.step(this.done, this.undone);
  }

  redo() {
    return this.step(this.undone, this.done);
  }

  step(from, to) {
    const change = from.pop();
    if (!change) return null;
    const rect = this.swap(change);
    to.push(change);
    return rect;
  }

  // Exchange tiles with those of a change; returns the rectangle around them.
  swap(change) {
    let all = null;
    for (const [number, tile] of change) {
      const rect = this.tileRect(number);
      change.set(number, this.bytes(rect));
      this.put(rect, tile);
      all = union(all, rect);
    }
    this.show(all);
    return all;
  }

  // The bytes of a rectangle, row by row.
  bytes(rect) {
    const result = new Uint8ClampedArray(rect.w * rect.h * 4);
    for (let row = 0; row < rect.h; row++) {
      const start = ((rect.y + row) * this.width + rect.x) * 4;
      result.set(this.pixels.subarray(start, start + rect.w * 4), row * rect.w * 4);
    }
    return result;
  }

  put(rect, bytes) {
    for (let row = 0; row < rect.h; row++) {
      const start = ((rect.y + row) * this.width + rect.x) * 4;
      this.pixels.set(bytes.subarray(row * rect.w * 4, (row + 1) * rect.w * 4), start);
    }
  }

  // Lay a rectangle of colours over the paint, `cover(i)` in [0, 1] being how far each of its texels applies.
  lay(rect, colours, cover) {
    for (const number of this.tilesIn(rect)) {
      const tile = this.tileRect(number);
      const base = this.before(number);
      const left = Math.max(tile.x, rect.x);
      const right = Math.min(tile.x + tile.w, rect.x + rect.w);
      const bottom = Math.min(tile.y + tile.h, rect.y + rect.h);
      for (let y = Math.max(tile.y, rect.y); y < bottom; y++) {
        for (let x = left; x < right; x++) {
          const i = (y - rect.y) * rect.w + (x - rect.x);
          const share = cover(i);
          if (share > 0) {
            const b = ((y - tile.y) * tile.w + (x - tile.x)) * 4;
            over(this.pixels, (y * this.width + x) * 4, base, b, colours[4 * i], colours[4 * i + 1], colours[4 * i + 2], share);
          }
        }
      }
    }
    this.show(rect);
  }

  // Bring the canvas up to date in a rectangle.
  show(rect) {
    this.context.putImageData(this.image, 0, 0, rect.x, rect.y, rect.w, rect.h);
  }
}

// Write colour over a base texel into `pixels` at `at`: alpha a = s + A (1 - s), colour (s C + A (1 - s) B) / a.
export function over(pixels, at, base, b, red, green, blue, share) {
  const under = (base[b + 3] / 255) * (1 - share);
  const alpha = share + under;
  if (alpha <= 0) return;
  pixels[at] = (red * share + base[b] * under) / alpha;
  pixels[at + 1] = (green * share + base[b + 1] * under) / alpha;
  pixels[at + 2] = (blue * share + base[b + 2] * under) / alpha;
  pixels[at + 3] = alpha * 255;
}

// The smallest rectangle around two; either may be null.
export function union(a, b) {
  if (!a || !b) return a || b;
  const x = Math.min(a.x, b.x);
  const y = Math.min(a.y, b.y);
  return { x, y, w: Math.max(a.x + a.w, b.x + b.w) - x, h: Math.max(a.y + a.h, b.y + b.h) - y };
}

// What of a rectangle lies in width x height, as whole numbers; null for nothing.
export function within(rect, width, height) {
  const x = Math.max(0, Math.floor(rect.x));
  const y = Math.max(0, Math.floor(rect.y));
  const w = Math.min(width, Math.ceil(rect.x + rect.w)) - x;
  const h = Math.min(height, Math.ceil(rect.y + rect.h)) - y;
  return w > 0 && h > 0 ? { x, y, w, h } : null;
}
