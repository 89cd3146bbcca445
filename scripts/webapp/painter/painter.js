// The painter's page: tools, pointer and keys, and what belongs to them beside the atlas.

import { PaintLayer } from "./paint_layer.js";
import { Stroke } from "./brush.js";
import { Placed, drawText } from "./placed.js";
import { Server } from "./server.js";
import { View } from "./view.js";
import { $, asked, say as sayLine, tell } from "../panels/panel.js";

const stage = $("stage");
const view = new View(stage, $("view"), $("over"));
const server = new Server(asked, { onFrame: showFrame, onError: (line) => line ? say(line, true) : failed && say("") });

let layer = null;
let atlas = null;
let tool = "brush";
let stroke = null;
let placed = null;
let pointer = null; // the last place of the brush, in texels
let drag = null; // what a drag does, while it lasts
let spaceHeld = false;
let unsaved = false;
let failed = false;
const touches = new Map();

function say(line, wrong = false) {
  failed = wrong;
  sayLine(line, wrong);
}

// Tools and what they are set to.

function choose(name) {
  tool = name;
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-pressed", String(button.dataset.tool === name));
  }
  cursor();
}

function cursor() {
  const moving = spaceHeld || tool === "hand";
  $("over").dataset.cursor = drag?.kind === "pan" ? "moving" : moving ? "move" : placed ? "place" : tool === "pick" ? "pick" : "brush";
  view.redrawOver();
}

const radius = () => Number($("size").value) / 2;

function brush() {
  const hex = $("colour").value;
  return {
    colour: [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)),
    radius: radius(),
    softness: Number($("softness").value) / 100,
    opacity: Number($("opacity").value) / 100,
    pressure: $("pressure").checked,
    erase: tool === "eraser",
  };
}

function showSettings() {
  $("colour-text").textContent = $("colour").value;
  $("size").nextElementSibling.textContent = `${$("size").value} px`;
  $("softness").nextElementSibling.textContent = `${$("softness").value} %`;
  $("opacity").nextElementSibling.textContent = `${$("opacity").value} %`;
  $("zoom").textContent = `${Math.round(view.scale * 100)} %`;
  if (placed?.words !== undefined) redrawText();
  view.redrawOver();
}

function set(id, value) {
  $(id).value = Math.round(Math.min($(id).max, Math.max($(id).min, value)));
  showSettings();
}

// What has changed goes to the server, and may be undone.

function changed(rect) {
  if (!rect) return;
  unsaved = true;
  view.redraw(rect);
  server.changed(layer, rect);
}

function showHistory() {
  $("undo").disabled = !layer?.done.length;
  $("redo").disabled = !layer?.undone.length;
}

function step(way) {
  if (!layer || stroke) return;
  changed(layer[way]());
  showHistory();
}

// Pointers: mouse, pen and fingers.

view.onZoom = showSettings;
view.drawOver = (c, unit) => {
  const accent = getComputedStyle(document.documentElement).getPropertyValue("--accent");
  if (placed) {
    c.globalAlpha = brush().opacity;
    placed.draw(c);
    c.globalAlpha = 1;
    placed.drawHandles(c, unit, accent);
  } else if (pointer && !spaceHeld && (tool === "brush" || tool === "eraser")) {
    for (const [colour, width] of [["rgba(0,0,0,.7)", 3], ["white", 1.2]]) {
      c.beginPath();
      c.arc(pointer.x, pointer.y, Math.max(radius(), 1.5 * unit), 0, 7);
      c.lineWidth = width * unit;
      c.strokeStyle = colour;
      c.stroke();
    }
  }
};

const strength = (event) => (event.pointerType === "pen" ? event.pressure : 1);

function draw(event) {
  let dirty = null;
  const events = event.getCoalescedEvents?.() ?? [];
  for (const e of events.length ? events : [event]) {
    const at = view.texel(e);
    const rect = stroke.to(at.x, at.y, strength(e));
    if (rect) changed(rect);
    dirty = dirty || rect;
  }
  return dirty;
}

function endStroke(keep = true) {
  if (!stroke) return;
  const drawn = stroke;
  stroke = null;
  if (keep) drawn.end();
  else changed(layer.abandon());
  showHistory();
}

function pick(event) {
  const { x, y } = view.texel(event);
  const at = { x: Math.floor(x), y: Math.floor(y) };
  if (at.x < 0 || at.y < 0 || at.x >= layer.width || at.y >= layer.height) return;
  const c = new OffscreenCanvas(1, 1).getContext("2d");
  c.drawImage(atlas, -at.x, -at.y);
  c.drawImage(layer.canvas, -at.x, -at.y);
  const [r, g, b, a] = c.getImageData(0, 0, 1, 1).data;
  if (!a) return;
  $("colour").value = "#" + [r, g, b].map((n) => n.toString(16).padStart(2, "0")).join("");
  showSettings();
}

const over = $("over");
over.addEventListener("pointerdown", (event) => {
  if (!layer) return;
  over.setPointerCapture(event.pointerId);
  stage.focus({ preventScroll: true });
  if (event.pointerType === "touch") {
    touches.set(event.pointerId, event);
    if (touches.size === 2) {
      endStroke(false);
      drag = null;
      return;
    }
  }
  if (event.button === 1 || spaceHeld || tool === "hand") {
    drag = { kind: "pan", x: event.clientX, y: event.clientY };
  } else if (event.button !== 0) {
    return;
  } else if (placed) {
    drag = { kind: "place", to: placed.grab(view.texel(event), 1 / view.scale) };
  } else if (tool === "pick") {
    pick(event);
    drag = { kind: "pick" };
  } else {
    stroke = new Stroke(layer, brush());
    draw(event);
  }
  event.preventDefault();
  cursor();
});

over.addEventListener("pointermove", (event) => {
  if (!layer) return;
  pointer = view.texel(event);
  if (touches.has(event.pointerId) && touches.size === 2) return pinch(event);
  if (stroke) draw(event);
  else if (drag?.kind === "pan") {
    view.pan(event.clientX - drag.x, event.clientY - drag.y);
    drag = { kind: "pan", x: event.clientX, y: event.clientY };
  } else if (drag?.kind === "place") drag.to(pointer);
  else if (drag?.kind === "pick") pick(event);
  view.redrawOver();
});

function pinch(event) {
  const other = [...touches.values()].find((touch) => touch.pointerId !== event.pointerId);
  const before = touches.get(event.pointerId);
  const box = over.getBoundingClientRect();
  const apart = (a) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY) || 1;
  view.pan((event.clientX - before.clientX) / 2, (event.clientY - before.clientY) / 2);
  const [x, y] = [(event.clientX + other.clientX) / 2 - box.left, (event.clientY + other.clientY) / 2 - box.top];
  view.zoom(apart(event) / apart(before), x, y);
  touches.set(event.pointerId, event);
}

for (const kind of ["pointerup", "pointercancel"]) {
  over.addEventListener(kind, (event) => {
    touches.delete(event.pointerId);
    endStroke(kind === "pointerup");
    drag = null;
    cursor();
  });
}
over.addEventListener("pointerleave", () => {
  pointer = null;
  view.redrawOver();
});
over.addEventListener("wheel", (event) => {
  event.preventDefault();
  const box = over.getBoundingClientRect();
  if (event.shiftKey) view.pan(-event.deltaX - event.deltaY, 0);
  else view.zoom(Math.exp(-event.deltaY / (event.ctrlKey ? 100 : 400)), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });
over.addEventListener("contextmenu", (event) => event.preventDefault());

// A picture or a text.

function place(source, w, h, words) {
  const { clientWidth, clientHeight } = stage;
  const scale = words === undefined ? Math.min(1, (clientWidth / view.scale / w) * 0.6, (clientHeight / view.scale / h) * 0.6) : 1;
  placed = new Placed(source, w, h, (clientWidth / 2 - view.x) / view.scale, (clientHeight / 2 - view.y) / view.scale, scale);
  if (words !== undefined) placed.words = words;
  $("placing").hidden = false;
  $("words").hidden = words === undefined;
  if (words !== undefined) {
    $("words").value = words;
    $("words").focus();
    $("words").select();
  }
  cursor();
}

function redrawText() {
  const canvas = drawText(placed.words, $("colour").value, placed.size);
  placed.show(canvas, canvas.width, canvas.height);
  view.redrawOver();
}

function placeText() {
  if (!layer) return;
  endPlacing(true);
  const size = Math.max(12, Math.round(stage.clientHeight / view.scale / 10));
  const canvas = drawText("Text", $("colour").value, size);
  place(canvas, canvas.width, canvas.height, "Text");
  placed.size = size;
}

async function placePicture(file) {
  if (!file || !layer) return;
  try {
    const bitmap = await createImageBitmap(file);
    endPlacing(true);
    place(bitmap, bitmap.width, bitmap.height);
    say("");
  } catch {
    say(`${file.name || "this file"} is not a picture that the browser can read: choose a PNG, JPEG or WebP`, true);
  }
}

function endPlacing(keep) {
  if (!placed) return;
  const put = placed;
  placed = null;
  $("placing").hidden = true;
  if (keep) changed(put.putDown(layer, brush().opacity));
  showHistory();
  stage.focus({ preventScroll: true });
  cursor();
}

$("words").addEventListener("input", () => {
  placed.words = $("words").value;
  redrawText();
});
$("put").onclick = () => endPlacing(true);
$("drop").onclick = () => endPlacing(false);
$("picture").onclick = () => $("file").click();
$("text").onclick = placeText;
$("file").onchange = () => {
  placePicture($("file").files[0]);
  $("file").value = "";
};
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  placePicture(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
  if (file) placePicture(file);
});

// The frame beside the atlas.

function showFrame(bitmap, milliseconds) {
  const canvas = $("frame");
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  if (milliseconds) $("took").textContent = `shown after ${(milliseconds / 1000).toFixed(2)} s`;
  document.body.dataset.shown = String(Number(document.body.dataset.shown || 0) + 1);
}

function askFrame() {
  const index = Number($("index").value);
  $("index").nextElementSibling.textContent = `${index} of ${server.about.frames - 1}`;
  server.show(index, $("source").getAttribute("aria-pressed") === "true");
}

function compare(on) {
  if (String(on) === $("source").getAttribute("aria-pressed")) return;
  $("source").setAttribute("aria-pressed", String(on));
  askFrame();
}

$("index").oninput = askFrame;
$("source").onclick = () => compare($("source").getAttribute("aria-pressed") !== "true");
$("frame").onclick = async (event) => {
  const box = $("frame").getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * server.about.frame_width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * server.about.frame_height);
  try {
    const texel = await server.texel(Number($("index").value), x, y);
    if (!texel) return say("The layer is not seen there.");
    pointer = { x: texel[0], y: texel[1] };
    if (view.scale < 0.75) view.scale = 1;
    view.centre(texel[0], texel[1]);
    showSettings();
  } catch (problem) {
    say(problem.message, true);
  }
};

// Saving.

async function save() {
  if (!layer || $("save").disabled) return;
  endPlacing(true);
  $("save").disabled = true;
  say("Saving …");
  try {
    const edit = $("edit").value.trim();
    unsaved = false; // what is painted while it is being saved counts again
    await server.save(edit);
    server.asked.edit = edit; // what is opened again, should the server have been started anew
    tell("painted", { edit });
    if (server.about.keyframe !== null) return location.reload(); // what was laid down is the keyframe now
    say(`Saved as edit ${edit}. Render it to see every frame.`);
  } catch (problem) {
    unsaved = true;
    say(problem.message, true);
  } finally {
    $("save").disabled = false;
  }
}

$("save").onclick = save;
addEventListener("beforeunload", (event) => unsaved && event.preventDefault());

// Keys.

const KEYS = {
  b: () => choose("brush"),
  e: () => choose("eraser"),
  i: () => choose("pick"),
  h: () => choose("hand"),
  p: () => $("file").click(),
  t: placeText,
  f: () => view.fit(),
  "+": () => view.zoom(1.25),
  "=": () => view.zoom(1.25),
  "-": () => view.zoom(0.8),
  "[": () => set("size", Math.min(Number($("size").value) - 1, Number($("size").value) / 1.15)),
  "]": () => set("size", Math.max(Number($("size").value) + 1, Number($("size").value) * 1.15)),
  "{": () => set("softness", Number($("softness").value) - 10),
  "}": () => set("softness", Number($("softness").value) + 10),
  "?": () => $("keys").showModal(),
  s: () => compare(true),
  arrowleft: () => stepFrame(-1),
  arrowright: () => stepFrame(1),
  enter: () => endPlacing(true),
  escape: () => (stroke ? endStroke(false) : endPlacing(false)),
};

function stepFrame(by) {
  set("index", Number($("index").value) + by);
  askFrame();
}

addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key === "s") save();
    else if (event.target.matches("textarea, input[type=text]")) return;
    else if (key === "z") step(event.shiftKey ? "redo" : "undo");
    else if (key === "y") step("redo");
    else return;
    event.preventDefault();
    return;
  }
  if ($("keys").open) return;
  if (event.target.matches("textarea, input[type=text]")) {
    if (key === "escape" && placed) endPlacing(false);
    return;
  }
  if (key === " ") {
    if (event.target.matches("button")) return;
    spaceHeld = true;
    cursor();
  } else if (key.startsWith("arrow") && event.target.matches("input")) {
    return; // the slider's own
  } else if (/^[0-9]$/.test(key)) set("opacity", key === "0" ? 100 : 10 * Number(key));
  else if (KEYS[key]) {
    if (key === "enter" && event.target.matches("button")) return;
    KEYS[key]();
  } else return;
  event.preventDefault();
});
addEventListener("keyup", (event) => {
  if (event.key === " ") {
    spaceHeld = false;
    cursor();
  } else if (event.key.toLowerCase() === "s" && !event.ctrlKey && !event.metaKey && layer) compare(false);
});
addEventListener("blur", () => {
  spaceHeld = false;
  cursor();
});

for (const button of document.querySelectorAll("[data-tool]")) button.onclick = () => choose(button.dataset.tool);
for (const id of ["colour", "size", "softness", "opacity"]) $(id).oninput = showSettings;
$("undo").onclick = () => step("undo");
$("redo").onclick = () => step("redo");
$("in").onclick = () => view.zoom(1.25);
$("out").onclick = () => view.zoom(0.8);
$("fit").onclick = () => view.fit();
$("help").onclick = () => $("keys").showModal();

// The beginning.

async function start() {
  const about = await server.open();
  document.title = `Paint on ${about.layer}`;
  $("edit").value = about.edit;
  $("edit").disabled = about.keyframe !== null;
  layer = new PaintLayer(about.width, about.height);
  atlas = await server.atlas();
  layer.load(await server.paint());
  view.open([atlas, layer.canvas], about.width, about.height, about.seen);
  $("opening").hidden = true;
  $("index").max = about.frames - 1;
  set("index", about.frame);
  set("size", Math.max(4, about.seen.w / 25));
  showSettings();
  askFrame();
  document.body.dataset.ready = "true";
}

showSettings();
start().catch((problem) => {
  $("opening").textContent = problem.message;
  $("opening").className = "wrong";
});
