// Pointing out objects in the frames of a source: a box or points, as the text of --masks, and the mask that they give.

import { $, ask, asked, say, tell } from "./panel.js";

const canvas = $("view");
const context = canvas.getContext("2d");
const path = asked.path;
let start = 0; // the first frame taken
let about = null;
let frame = null;
let mask = null;
let tool = "box";
let drawing = null;
const marks = []; // { name, box: [x, y, w, h] } or { name, frame, x, y, inside }, in the source's pixels

const index = () => Number($("index").value);

// What is typed for an option in the form around.
const option = (name) => parent.document.querySelector(`#prepare-${name} textarea, #prepare-${name} input`)?.value || "";

// The text of --masks: frames count from the first one taken.
function text() {
  const names = [...new Set(marks.map((mark) => mark.name))];
  return names.flatMap((name) => {
    const own = marks.filter((mark) => mark.name === name);
    const before = name ? `${name}=` : "";
    const boxes = own.filter((mark) => mark.box).slice(-1).map((mark) => `${before}box:${mark.box.map(Math.round).join(",")}`);
    const points = own.filter((mark) => !mark.box);
    const frames = [...new Set(points.map((mark) => mark.frame))];
    return boxes.concat(frames.map((at) => `${before}points:${at}:` + points.filter((mark) => mark.frame === at)
      .map((mark) => `${mark.inside ? "" : "-"}${Math.round(mark.x)},${Math.round(mark.y)}`).join(",")));
  }).join(";");
}

let asking = 0;
async function look() {
  const masks = text();
  tell("masks", { text: masks });
  mask = null;
  draw();
  if (!masks) return say("Draw a box around the object, or click points on it.");
  const number = ++asking;
  say("Looking …");
  try {
    const given = new URLSearchParams({ path, start, masks, frame: Math.max(0, index() - start) });
    if (option("segmenter")) given.set("segmenter", option("segmenter"));
    const picture = await createImageBitmap(await (await ask(`/api/see/mask.png?${given}`)).blob());
    if (number !== asking) return;
    mask = picture;
    say(`--masks ${masks}`);
  } catch (problem) {
    if (number === asking) say(problem.message, true);
  }
  document.body.dataset.looked = String(number);
  draw();
}

function fitted() {
  const { clientWidth: w, clientHeight: h } = canvas;
  const scale = about ? Math.min(w / about.width, h / about.height) : 1;
  return { scale, x: (w - about.width * scale) / 2, y: (h - about.height * scale) / 2 };
}

function draw() {
  const ratio = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  if (!about || !frame) return;
  const { scale, x, y } = fitted();
  context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
  context.drawImage(frame, 0, 0, about.width, about.height);
  if (mask) context.drawImage(mask, 0, 0, about.width, about.height);
  context.lineWidth = 2 / scale;
  for (const mark of [...marks, ...(drawing ? [drawing] : [])]) {
    if (mark.box && index() === start) {
      context.strokeStyle = "white";
      context.setLineDash([6 / scale, 4 / scale]);
      context.strokeRect(...mark.box);
      context.setLineDash([]);
    } else if (!mark.box && mark.frame === index() - start) {
      context.beginPath();
      context.arc(mark.x, mark.y, 6 / scale, 0, 7);
      context.fillStyle = mark.inside ? "#2baaa0" : "#c8452f";
      context.fill();
      context.strokeStyle = "white";
      context.stroke();
    }
  }
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  const { scale, x, y } = fitted();
  const within = (value, most) => Math.min(most, Math.max(0, value));
  return {
    x: within((event.clientX - box.left - x) / scale, about.width - 1),
    y: within((event.clientY - box.top - y) / scale, about.height - 1),
  };
}

canvas.addEventListener("pointerdown", (event) => {
  if (!about || event.button !== 0) return;
  canvas.setPointerCapture(event.pointerId);
  const at = place(event);
  const name = $("name").value.trim();
  if (!marks.length) start = Math.min(about.frames - 1, Number(option("start")) || 0);
  if (index() < start) return say(`Frame ${start} is the first one taken: point the object out from there on.`, true);
  if (tool === "box") {
    if (index() !== start) {
      $("index").value = start;
      return show().then(() => say("A box is drawn in the first frame taken: here it is."));
    }
    drawing = { name, from: at, box: [at.x, at.y, 0, 0] };
  } else {
    marks.push({ name, frame: index() - start, x: at.x, y: at.y, inside: tool === "on" });
    look();
  }
});
canvas.addEventListener("pointermove", (event) => {
  if (!drawing) return;
  const at = place(event);
  const { from } = drawing;
  drawing.box = [Math.min(from.x, at.x), Math.min(from.y, at.y), Math.abs(at.x - from.x), Math.abs(at.y - from.y)];
  draw();
});
canvas.addEventListener("pointerup", () => {
  if (!drawing) return;
  const { name, box } = drawing;
  drawing = null;
  if (box[2] < 2 || box[3] < 2) return draw();
  for (let i = marks.length - 1; i >= 0; i--) if (marks[i].box && marks[i].name === name) marks.splice(i, 1);
  marks.push({ name, box: box.map(Math.round) });
  look();
});

function choose(name) {
  tool = name;
  for (const button of document.querySelectorAll("[data-tool]")) button.setAttribute("aria-pressed", String(button.dataset.tool === name));
}

async function show() {
  const number = index();
  $("at").textContent = `${number} of ${about.frames - 1}`;
  const picture = await createImageBitmap(await (await ask(`/api/see/source/${number}.jpg?` + new URLSearchParams({ path }))).blob());
  if (number !== index()) return;
  frame = picture;
  mask = null;
  draw();
  const here = number - start;
  if (marks.some((mark) => (mark.box ? here === 0 : mark.frame === here))) look();
}

function undo() {
  marks.pop();
  look();
}

$("index").oninput = () => show().catch((problem) => say(problem.message, true));
$("undo").onclick = undo;
$("clear").onclick = () => {
  marks.length = 0;
  look();
};
for (const button of document.querySelectorAll("[data-tool]")) button.onclick = () => choose(button.dataset.tool);
addEventListener("keydown", (event) => {
  if (event.target.matches("input[type=text]")) return;
  const key = event.key.toLowerCase();
  if ((event.ctrlKey || event.metaKey) && key === "z") undo();
  else if (!event.ctrlKey && !event.metaKey && { b: 1, a: 1, d: 1 }[key]) choose({ b: "box", a: "on", d: "beside" }[key]);
});
new ResizeObserver(draw).observe($("stage"));

async function begin() {
  about = await (await ask("/api/see/source?" + new URLSearchParams({ path }))).json();
  $("index").max = about.frames - 1;
  await show();
  document.body.dataset.ready = "true";
}

begin().catch((problem) => say(problem.message, true));
