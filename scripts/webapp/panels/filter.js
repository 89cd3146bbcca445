// A filter and its options, seen on one frame at once; told to the form around as the text of --filter.

import { $, ask, asked, say, tell } from "./panel.js";

const { clip, layer, fit } = asked;
let filters = [];
let busy = false;
let again = false;

const chosen = () => filters.find((filter) => filter.name === $("filter").value);

function text() {
  const given = [...$("options").querySelectorAll("input")].filter((input) => input.value !== input.dataset.usual);
  return [$("filter").value, given.map((input) => `${input.name}=${input.value}`).join(",")].filter(Boolean).join(":");
}

function showOptions() {
  const filter = chosen();
  $("about").textContent = filter.about;
  $("options").replaceChildren(...Object.entries(filter.options).map(([name, usual]) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "text", name, value: usual });
    input.dataset.usual = usual;
    if (typeof usual === "number") input.inputMode = "decimal";
    input.oninput = look;
    label.append(name, input);
    return label;
  }));
  look();
}

async function look() {
  tell("filter", { text: text() });
  if (busy) return (again = true);
  busy = true;
  do {
    again = false;
    const index = Number($("index").value);
    $("at").textContent = `${index} of ${$("index").max}`;
    try {
      const given = new URLSearchParams({ clip, layer, fit, filter: text() });
      const picture = await (await ask(`/api/see/filter/${index}.jpg?${given}`)).blob();
      URL.revokeObjectURL($("picture").src);
      $("picture").src = URL.createObjectURL(picture);
      say(`--filter ${text()}`);
    } catch (problem) {
      say(problem.message, true);
    }
  } while (again);
  busy = false;
  document.body.dataset.ready = "true";
}

async function begin() {
  const about = await (await ask("/api/see/filters?" + new URLSearchParams({ clip }))).json();
  filters = about.filters;
  $("index").max = about.frames - 1;
  $("index").value = Math.floor(about.frames / 2);
  $("filter").replaceChildren(...filters.map(({ name }) => new Option(name, name)));
  $("filter").onchange = showOptions;
  $("index").oninput = look;
  showOptions();
}

begin().catch((problem) => say(problem.message, true));
