// The film of an edit and its source, played as one: a slider over both, or beside each other. It is looked for in the edit's
// folder, whoever renders it.

import { $, ask, asked, say } from "./panel.js";

const before = $("before");
const after = $("after");
const stage = $("stage");
const PAUSE = 1500; // milliseconds between two looks
let fps = 24;
let share = 0.5;
let dragging = false;

function wipe() {
  const beside = stage.dataset.mode === "beside";
  after.style.clipPath = beside ? "" : `inset(0 0 0 ${100 * share}%)`;
  $("line").style.left = `${100 * share}%`;
}

function follow() {
  if (Math.abs(before.currentTime - after.currentTime) > 0.5 / fps) before.currentTime = after.currentTime;
}

function shown() {
  if (!after.duration) return;
  const frame = Math.min(Math.round(after.duration * fps) - 1, Math.floor(after.currentTime * fps + 1e-3));
  $("time").value = (1000 * after.currentTime) / after.duration;
  $("at").textContent = `frame ${frame}`;
}

function play(on) {
  if (on) {
    follow();
    Promise.all([before.play(), after.play()]).catch((problem) => say(problem.message, true));
  } else {
    before.pause();
    after.pause();
    follow();
  }
  $("play").textContent = on ? "Pause" : "Play";
}

function seek(seconds) {
  const last = Math.max(0, after.duration - 0.5 / fps);
  after.currentTime = before.currentTime = Math.min(last, Math.max(0, seconds));
}

function step(frames) {
  play(false);
  seek((Math.floor(after.currentTime * fps + 1e-3) + frames + 0.5) / fps);
}

function choose(mode) {
  stage.dataset.mode = mode;
  for (const button of document.querySelectorAll("button[data-mode]")) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  wipe();
}

function sound(on) {
  after.muted = !on;
  $("sound").setAttribute("aria-pressed", String(on));
}

function drag(event) {
  const box = stage.getBoundingClientRect();
  share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  wipe();
}

stage.addEventListener("pointerdown", (event) => {
  if (stage.dataset.mode !== "wipe") return;
  stage.setPointerCapture(event.pointerId);
  dragging = true;
  drag(event);
});
stage.addEventListener("pointermove", (event) => dragging && drag(event));
for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, () => (dragging = false));
$("play").onclick = () => play(after.paused);
$("time").oninput = () => {
  play(false);
  seek((Number($("time").value) / 1000) * after.duration);
};
for (const button of document.querySelectorAll("button[data-mode]")) button.onclick = () => choose(button.dataset.mode);
$("sound").onclick = () => sound(after.muted);
addEventListener("keydown", (event) => {
  const does = {
    " ": () => play(after.paused), arrowleft: () => step(-1), arrowright: () => step(1),
    w: () => choose("wipe"), e: () => choose("beside"), m: () => sound(after.muted),
  }[event.key.toLowerCase()];
  if (!does || (event.key === " " && event.target.matches("button"))) return;
  event.preventDefault();
  does();
});
after.ontimeupdate = shown;
after.onseeked = shown;
after.onloadedmetadata = () => {
  shown();
  document.body.dataset.ready = "true";
};
before.onerror = () => say("the browser cannot play the source", true);
after.onerror = () => say("the browser cannot play the film: render it as mp4", true);

function offer(files) {
  const links = files.map(({ name, url, save }) => Object.assign(document.createElement("a"), { href: url, textContent: name, target: "_blank", ...(save && { download: "" }) }));
  $("files").replaceChildren(...links.flatMap((link, place) => [place ? " \u00b7 " : "Download: ", link]));
}

async function look() {
  try {
    const { fps: rate, film, files } = await (await ask("/api/results?" + new URLSearchParams({ clip: asked.clip, edit: asked.edit }))).json();
    fps = rate;
    if (film && film !== after.getAttribute("src")) {
      say("");
      before.src = "/api/see/source.mp4?" + new URLSearchParams({ clip: asked.clip });
      after.src = film;
    }
    if (JSON.stringify(files) !== $("files").dataset.shown) {
      $("files").dataset.shown = JSON.stringify(files);
      offer(files);
    }
  } catch (problem) {
    say(problem.message, true);
  }
  setTimeout(look, PAUSE);
}

look();
setInterval(() => !after.paused && follow(), 500);
wipe();
