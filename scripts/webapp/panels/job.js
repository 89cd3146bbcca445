// What is at work in a clip, from its folder alone: after a reload, in another tab, or started by the command line of a batch.

import { $, ask, asked, say, tell } from "./panel.js";

const { clip } = asked;
const QUICK = 400; // milliseconds between two looks at a job
const SLOW = 3000;
let shown = null; // id of the job that was shown last, and whether it ran
let first = true;
let timer = 0;
let turn = 0; // of the newest look: one that was asked for later takes the place of those under way

const NAMES = { prepare: "Making the clip", fit: "Fit", edit: "Edit", aggregate: "Merging keyframes", render: "Rendering", evaluate: "Measuring" };

function show(job) {
  const { state } = job;
  const running = state.name === "running";
  const progress = state.progress;
  document.body.className = running ? "" : "idle";
  document.body.dataset.state = state.name;
  $("name").textContent = `${NAMES[job.stage] || job.stage}${running ? "" : `: ${state.name}`}`;
  const share = running && progress?.total ? Math.min(1, progress.done / progress.total) : 0;
  $("bar").style.width = `${100 * share}%`;
  $("bar").parentElement.setAttribute("aria-valuenow", Math.round(100 * share));
  $("count").textContent = running && progress ? `${progress.done}${progress.total ? ` of ${progress.total}` : ""} ${progress.unit}s` : "";
  const doing = running && progress ? [progress.name, progress.note].filter(Boolean).join(": ") : state.message;
  say(doing || (running ? "Starting …" : ""), ["failed", "busy", "died"].includes(state.name));
  $("said").title = doing;
  $("cancel").onclick = () => cancel(job.id);
}

async function look() {
  clearTimeout(timer);
  const own = ++turn;
  let pause = SLOW;
  try {
    const jobs = clip ? await (await ask("/api/jobs?" + new URLSearchParams({ clip }))).json() : [];
    if (own !== turn) return;
    const job = jobs.find((one) => one.state.name === "running") || jobs[0];
    if (job) {
      show(job);
      const running = job.state.name === "running";
      if (running) pause = QUICK;
      const before = shown;
      shown = { id: job.id, running };
      const ended = !running && !first && (before?.running || before?.id !== job.id);
      if (ended) tell("ended", { stage: job.stage, state: job.state.name, message: job.state.message, field: job.field, clip });
    }
    first = false;
  } catch (problem) {
    if (own !== turn) return;
    say(problem.message, true);
  }
  document.body.dataset.ready = "true";
  timer = setTimeout(look, pause);
}

async function cancel(id) {
  $("cancel").disabled = true;
  try {
    const body = JSON.stringify({ clip, id });
    await ask("/api/jobs/cancel", { method: "POST", body, headers: { "Content-Type": "application/json" } });
  } catch (problem) {
    say(problem.message, true);
  }
  $("cancel").disabled = false;
  look();
}

addEventListener("message", (event) => event.origin === location.origin && event.data?.kind === "look" && look());
look();
