// What is at work in a clip, from its folder alone: after a reload, in another tab, or started by the command line of a batch.

import { $, ask, asked, say, tell } from "./panel.js";

const { clip } = asked;
const QUICK = 400; // milliseconds between two looks at a job
const SLOW = 3000;
let known = null; // whether each job ran when it was last looked at, by id; null before the first look
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

// A job that found the clip taken ends before the one that was there first.
function lastEnded(jobs) {
  const end = (job) => job.state.ended ?? job.started;
  return jobs.reduce((last, job) => (last && end(last) >= end(job) ? last : job), undefined);
}

async function look() {
  clearTimeout(timer);
  const own = ++turn;
  let pause = SLOW;
  try {
    const jobs = clip ? await (await ask("/api/jobs?" + new URLSearchParams({ clip }))).json() : [];
    if (own !== turn) return;
    const isRunning = (job) => job.state.name === "running";
    const job = jobs.find(isRunning) || lastEnded(jobs);
    if (job) show(job);
    if (job && isRunning(job)) pause = QUICK;
    const ended = known ? jobs.filter((one) => !isRunning(one) && known.get(one.id) !== false) : [];
    known = new Map(jobs.map((one) => [one.id, isRunning(one)]));
    for (const { id, stage, state, field } of ended) tell("ended", { id, stage, state: state.name, message: state.message, field, clip });
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
