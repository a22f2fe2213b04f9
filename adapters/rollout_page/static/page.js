// Keeps the parts of the page as they are now. Without it the page is whole, and as old as its last loading.

const { stream } = JSON.parse(document.getElementById("page").textContent);
const live = document.getElementById("live");
const silenceMs = 25_000; // the server says something every ten seconds
let source = null;
let silence = 0;

function say(text, on) {
  if (live.textContent !== text) live.textContent = text;
  live.classList.toggle("off", !on);
  live.hidden = false;
}

function heard() {
  clearTimeout(silence);
  silence = setTimeout(() => say("not live: no answer", false), silenceMs);
}

// A form that somebody is at stays as it is: what they read is what they decide on.
function inUse(part) {
  const reason = part.querySelector("[name=reason]");
  return part.contains(document.activeElement) || (reason !== null && reason.value !== "");
}

function version(part) {
  return ["version", "policy"].map((name) => part.querySelector(`[name=${name}]`)?.value).join();
}

function replace(part, html) {
  const next = document.createElement("template");
  next.innerHTML = html;
  if (part.hasAttribute("data-form") && inUse(part)) {
    part.parentElement.querySelector(".changed").hidden = version(next.content) === version(part);
    return;
  }
  const open = [...part.querySelectorAll("details[open]")].map((one) => one.id);
  const scrolled = [...part.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  const focused = part.contains(document.activeElement) ? focusable(part).indexOf(document.activeElement) : -1;
  part.replaceChildren(next.content);
  for (const id of open) part.querySelector(`#${CSS.escape(id)}`)?.setAttribute("open", "");
  part.querySelectorAll(".scroll").forEach((one, index) => { one.scrollLeft = scrolled[index] ?? 0; });
  if (focused >= 0) focusable(part)[focused]?.focus({ preventScroll: true });
}

function focusable(part) {
  return [...part.querySelectorAll("a, button, summary, [tabindex]")];
}

function follow() {
  source = new EventSource(stream);
  const answered = () => {
    heard();
    say("live", true);
  };
  source.addEventListener("open", answered);
  source.addEventListener("parts", (event) => {
    answered();
    for (const [id, html] of Object.entries(JSON.parse(event.data))) {
      const part = document.getElementById(id);
      if (part?.hasAttribute("data-part")) replace(part, html);
    }
    document.title = document.querySelector("[data-title]")?.dataset.title ?? document.title;
  });
  source.addEventListener("beat", heard);
  source.addEventListener("trouble", (event) => {
    heard();
    say(`not live: ${JSON.parse(event.data).why}`, false);
  });
  source.addEventListener("error", () => {
    const over = source.readyState === EventSource.CLOSED;
    say(over ? "not live: reload the page" : "not live: connecting", false);
  });
}

function leave() {
  clearTimeout(silence);
  source?.close();
}

// A browser keeps few connections to one host: a page that nobody sees holds none.
document.addEventListener("visibilitychange", () => {
  leave();
  if (!document.hidden) follow();
});
addEventListener("pagehide", leave);
if (!document.hidden) follow();
