// What our own pages share: asking the server, saying what came of it, and speaking with the page around them.

// Fetch from the server; throws an Error whose message is the line that the server gives.
export async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  if (answer.ok) return answer;
  let line = `the server answered ${answer.status}`;
  try {
    const refusal = await answer.json();
    line = refusal.error || (typeof refusal.detail === "string" && refusal.detail) || line;
  } catch { /* not from us: the status has to do */ }
  throw Object.assign(new Error(line), { status: answer.status });
}

export const asked = Object.fromEntries(new URLSearchParams(location.search));

export const $ = (id) => document.getElementById(id);

// Say a line where a page says what it does, or what is wrong.
export function say(line, wrong = false) {
  $("said").textContent = line;
  $("said").className = wrong ? "wrong" : "quiet";
}

// Tell the page around this one.
export function tell(kind, what = {}) {
  parent.postMessage({ kind, ...what }, location.origin);
}
