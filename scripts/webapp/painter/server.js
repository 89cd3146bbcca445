// What the server holds: the same paint, and the frames that it gives. Changes go up as rectangles of raw bytes.

import { union } from "./paint_layer.js";
import { ask } from "../panels/panel.js";

const LARGEST = 3 << 20; // bytes of a request
const PAUSE = 120; // milliseconds between two rectangles of one stroke
const BYTES = { "Content-Type": "application/octet-stream" };

export class Server {
  // asked: clip, fit, layer, edit. onFrame(bitmap, milliseconds), onError(line)
  constructor(asked, { onFrame, onError }) {
    Object.assign(this, { asked, onFrame, onError });
    this.dirty = null;
    this.wanted = null; // the frame to show
    this.busy = false;
    this.since = 0;
    this.generation = 0;
  }

  async open() {
    this.about = await (await ask("/api/paint?" + new URLSearchParams(this.asked), { method: "POST" })).json();
    this.base = `/api/paint/${this.about.id}`;
    return this.about;
  }

  async atlas() {
    return createImageBitmap(await (await ask(`${this.base}/atlas.png`)).blob());
  }

  async paint() {
    return new Uint8ClampedArray(await (await ask(`${this.base}/paint`)).arrayBuffer());
  }

  // A rectangle of the layer has changed; it is sent and the frame is shown anew, soon.
  changed(layer, rect) {
    this.layer = layer;
    if (!this.dirty) this.since = performance.now();
    this.dirty = union(this.dirty, rect);
    this.soon();
  }

  show(index, source) {
    this.wanted = { index, source };
    if (!this.since) this.since = performance.now();
    this.soon();
  }

  soon() {
    if (this.busy) return;
    this.busy = true;
    setTimeout(() => this.work(), this.dirty && performance.now() - this.since < PAUSE ? PAUSE / 2 : 0);
  }

  // Send what has changed, fetch the frame, until there is nothing to do.
  async work() {
    try {
      do {
        const { since } = this;
        this.since = 0;
        await this.send();
        const frame = this.wanted || this.shown;
        this.wanted = null;
        if (frame) {
          this.shown = frame;
          const asked = `${this.base}/frames/${frame.index}.jpg?source=${frame.source ? 1 : 0}&n=${this.generation++}`;
          const bitmap = await createImageBitmap(await (await ask(asked)).blob());
          this.onFrame(bitmap, since ? performance.now() - since : 0);
        }
      } while (this.dirty || this.wanted);
      this.onError("");
    } catch (problem) {
      this.onError(problem.message);
    } finally {
      this.busy = false;
    }
  }

  async send() {
    const rect = this.dirty;
    if (!rect) return;
    this.dirty = null;
    try {
      await this.put(rect);
    } catch (problem) {
      this.dirty = union(this.dirty, rect); // nothing that was painted is lost
      if (problem.status !== 404) throw problem;
      await this.open(); // the server was started again: it gets all paint anew
      await this.put({ x: 0, y: 0, w: this.layer.width, h: this.layer.height });
      this.dirty = null;
    }
  }

  async put({ x, y, w, h }) {
    const rows = Math.max(1, Math.floor(LARGEST / (4 * w)));
    for (let top = y; top < y + h; top += rows) {
      const rect = { x, y: top, w, h: Math.min(rows, y + h - top) };
      const body = this.layer.bytes(rect);
      await ask(`${this.base}/paint?x=${x}&y=${top}&w=${w}&h=${rect.h}`, { method: "PUT", body, headers: BYTES });
    }
  }

  // The texel that a pixel of a frame shows, or null.
  async texel(index, x, y) {
    const asked = `${this.base}/texel?frame=${index}&x=${x}&y=${y}`;
    return (await (await ask(asked)).json()).texel;
  }

  // Save the paint as an edit; resolves when the edit is made, to its job.
  async save(edit) {
    while (this.busy) await new Promise((done) => setTimeout(done, 20));
    await this.send();
    let job = await (await ask(`${this.base}/save?` + new URLSearchParams({ edit }), { method: "POST" })).json();
    while (job.state.name === "running") {
      await new Promise((done) => setTimeout(done, 300));
      job = await (await ask(`${this.base}/saved`)).json();
    }
    if (job.state.name !== "done") throw new Error(job.state.message || `saving ended: ${job.state.name}`);
    return job;
  }
}
