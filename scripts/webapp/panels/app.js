// The page around the panels: what they tell goes into the forms, what a command says goes beside the field that it is about.

const TABS = ["clip", "fit", "edit", "paint", "render", "compare"];
const field = (id) => document.querySelector(`#${CSS.escape(id)} textarea, #${CSS.escape(id)} input`);

// Set a component's value as typing would.
function type(id, value) {
  const input = field(id);
  if (!input || input.value === value) return Boolean(input);
  const proto = input.tagName === "TEXTAREA" ? HTMLTextAreaElement.prototype : HTMLInputElement.prototype;
  Object.getOwnPropertyDescriptor(proto, "value").set.call(input, value);
  input.dispatchEvent(new Event("input", { bubbles: true }));
  return true;
}

function choose(clip) {
  const address = new URL(location);
  if (clip) address.searchParams.set("clip", clip);
  else address.searchParams.delete("clip");
  history.replaceState(null, "", address);
  type("chosen", clip);
}

function clearProblems(stage) {
  for (const line of document.querySelectorAll(`.problem[data-stage="${CSS.escape(stage)}"]`)) line.remove();
  for (const wrong of document.querySelectorAll(".is-wrong")) wrong.classList.remove("is-wrong");
}

// Show a line beside a stage's field, or at its button where it is about no single one.
function problem(stage, name, text) {
  const named = name ? document.getElementById(`${stage}-${name}`) : null;
  const folded = named?.closest(".folded");
  const button = folded?.querySelector("button.label-wrap:not(.open)");
  button?.click();
  const seen = (element) => element && element.offsetParent;
  const place = seen(named) ? named : [...document.querySelectorAll(`[id="go-${CSS.escape(stage)}"]`)].find(seen);
  if (!place) return;
  const line = Object.assign(document.createElement("p"), { className: "problem", textContent: text });
  line.dataset.stage = stage;
  line.setAttribute("role", "alert");
  place.classList.add("is-wrong");
  place.after(line);
  line.scrollIntoView({ block: "nearest" });
}

// Ids of the jobs that this window started; they outlast a reload.
const ours = () => JSON.parse(sessionStorage.getItem("jobs") || "[]");

function notice(text) {
  if (!text) return;
  const { stage, errors, job, clip } = JSON.parse(text);
  clearProblems(stage);
  for (const [name, line] of Object.entries(errors || {})) problem(stage, name, line);
  if (!job) return;
  sessionStorage.setItem("jobs", JSON.stringify([...ours(), job].slice(-50)));
  const now = new URL(location).searchParams.get("clip") || "";
  if (clip !== now) choose(clip);
  document.querySelector("#job iframe")?.contentWindow.postMessage({ kind: "look" }, location.origin);
}

function ended({ id, stage, state, message, field }) {
  document.getElementById("again")?.click();
  if (state !== "failed" && state !== "busy" && state !== "died") return;
  if (!ours().includes(id)) return; // it is about fields of another window
  clearProblems(stage);
  problem(stage, field || "", message);
}

addEventListener("message", (event) => {
  if (event.origin !== location.origin) return;
  const message = event.data || {};
  if (message.kind === "masks") type("prepare-masks", message.text);
  else if (message.kind === "filter") type("edit-filter", message.text);
  else if (message.kind === "uploaded") type("source", message.path);
  else if (message.kind === "ended") ended(message);
  else if (message.kind === "painted") document.getElementById("again")?.click();
});

const tabButtons = () => [...document.querySelectorAll("#tabs button[role=tab]")];

function openTab(name) {
  const button = tabButtons().find((one) => one.textContent.trim().toLowerCase() === name);
  button?.click();
  return Boolean(button);
}

addEventListener("keydown", (event) => {
  if (event.altKey && /^[1-6]$/.test(event.key)) {
    event.preventDefault();
    openTab(TABS[Number(event.key) - 1]);
  }
});
addEventListener("click", (event) => {
  const tab = event.target.closest?.("#tabs button[role=tab]");
  if (!tab) return;
  const address = new URL(location);
  address.searchParams.set("tab", tab.textContent.trim().toLowerCase());
  history.replaceState(null, "", address);
});

// The tab of the address, as soon as it is there.
const wanted = new URL(location).searchParams.get("tab");
if (wanted && wanted !== TABS[0]) {
  const waiting = setInterval(() => openTab(wanted) && clearInterval(waiting), 100);
  setTimeout(() => clearInterval(waiting), 20000);
}

window.atlas = { choose, notice };
