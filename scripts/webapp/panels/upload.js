// Uploads of films and folders of frames, straight to the root's uploads, where they are checked as sources are.

import { $, ask, say, tell } from "./panel.js";

async function send(file, folder = "") {
  const given = new URLSearchParams(folder ? { name: file.name, folder } : { name: file.name });
  return (await ask(`/api/upload?${given}`, { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } })).json();
}

async function film(file) {
  if (!file) return;
  say(`Uploading ${file.name} …`);
  try {
    const { path } = await send(file);
    say(`${path} is there.`);
    tell("uploaded", { path });
  } catch (problem) {
    say(problem.message, true);
  }
}

async function folder(files) {
  const frames = [...files].filter((file) => /\.(png|jpe?g)$/i.test(file.name)).sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  if (!frames.length) return say("this folder holds no PNG or JPEG frames", true);
  try {
    const name = frames[0].webkitRelativePath.split("/")[0] || "frames";
    const made = await (await ask("/api/upload/folder?" + new URLSearchParams({ name }), { method: "POST" })).json();
    for (const [number, file] of frames.entries()) {
      say(`Uploading ${number + 1} of ${frames.length} frames …`);
      await send(file, made.folder);
    }
    say(`${made.path} is there.`);
    tell("uploaded", { path: made.path });
  } catch (problem) {
    say(problem.message, true);
  }
}

$("film").onclick = () => $("one").click();
$("folder").onclick = () => $("many").click();
$("one").onchange = () => film($("one").files[0]);
$("many").onchange = () => folder($("many").files);
addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").className = "over";
});
addEventListener("dragleave", () => ($("drop").className = ""));
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").className = "";
  film(event.dataTransfer.files[0]);
});
document.body.dataset.ready = "true";
