// What a page does beside being read: local times, a button that copies, and pages of what goes on that renew themselves.
// Without it all that is shown is there, in UTC.
"use strict";

const LOCAL = "dumpty-local-times";

function remembers(name) {
  try { return localStorage.getItem(name) === "yes"; } catch { return false; }
}

function remember(name, on) {
  try { localStorage.setItem(name, on ? "yes" : "no"); } catch { /* it lasts as long as the page */ }
}

let local = remembers(LOCAL);

function showTimes(root) {
  const form = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "short" });
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.dataset.utc ??= time.textContent;
    const when = new Date(time.dateTime);
    time.textContent = local ? form.format(when) : time.dataset.utc;
    time.title = local ? time.dataset.utc : form.format(when);
  }
  const zone = document.querySelector(".zone");
  if (zone) zone.textContent = local ? `times in ${Intl.DateTimeFormat().resolvedOptions().timeZone}` : "times in UTC";
}

function addTimesButton() {
  const tools = document.querySelector(".tools");
  if (!tools) return;
  const button = document.createElement("button");
  button.type = "button";
  const label = () => { button.textContent = local ? "Show UTC" : "Show local time"; };
  button.addEventListener("click", () => {
    local = !local;
    remember(LOCAL, local);
    label();
    showTimes(document);
  });
  label();
  tools.prepend(button);
}

function addCopyButtons(root) {
  if (!navigator.clipboard) return;
  for (const box of root.querySelectorAll(".copy")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(box.querySelector("code").textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Not allowed: select it";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    box.append(button);
  }
}

function dress(root) {
  showTimes(root);
  addCopyButtons(root);
}

// How long a page stands before it renews itself, in milliseconds: where something goes on, and else.
const LIVE = 3000;
const CALM = 60000;

function sayStale(why) {
  const main = document.querySelector("main");
  let line = main.querySelector(".stale");
  if (!line) {
    line = document.createElement("p");
    line.className = "stale";
    line.setAttribute("role", "status");
    main.prepend(line);
  }
  line.textContent = `This page could not be renewed (${why}): it shows what was so at its time.`;
}

async function renew() {
  const main = document.querySelector("main");
  let next = document.body.hasAttribute("data-live") ? LIVE : CALM;
  // Whoever is in a field, or has marked something, is not to lose it.
  const busy = main.contains(document.activeElement) || String(getSelection()) !== "";
  if (!document.hidden && !busy) {
    try {
      const answer = await fetch(location.href, { credentials: "same-origin", redirect: "error" });
      const found = new DOMParser().parseFromString(await answer.text(), "text/html");
      const following = found.querySelector("main");
      if (!following) throw new Error(`status ${answer.status}`);
      main.replaceChildren(...following.childNodes);
      const footer = found.querySelector("footer");
      if (footer) document.querySelector("footer").replaceChildren(...footer.childNodes);
      document.body.toggleAttribute("data-live", found.body.hasAttribute("data-live"));
      next = found.body.hasAttribute("data-live") ? LIVE : CALM;
      dress(document);
    } catch (problem) {
      sayStale(problem.message);
    }
  }
  setTimeout(renew, next);
}

addTimesButton();
dress(document);
// A page of its own kind alone: a form that asks for the token is not to be emptied.
if (document.querySelector("footer")) setTimeout(renew, document.body.hasAttribute("data-live") ? LIVE : CALM);
