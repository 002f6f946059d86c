// Which page is shown, and when it is drawn again.

let page = null;
let shownHash = null;

const PAGES = [
  [/^#\/run\/([^/?]+)$/, (match) => new RunPage(decodeURIComponent(match[1]))],
  [/^#\/compare/, (match, query) => new ComparePage(query)],
  [/^#\/new/, (match, query) => new FormPage(query)],
  [/^/, () => new Runs()],
];

function route() {
  if (location.hash === shownHash) return;
  const isFirst = shownHash === null;
  shownHash = location.hash;
  const query = new URLSearchParams(shownHash.split("?")[1] ?? "");
  const [pattern, make] = PAGES.find(([one]) => one.test(shownHash));
  page = make(pattern.exec(shownHash), query);
  byId("main").replaceChildren(page.node);
  for (const link of document.querySelectorAll("header nav a")) {
    const isHere = link.getAttribute("href") === (shownHash.split("?")[0] || "#/");
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!isFirst) {
    byId("main").focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  draw();
}

function draw() {
  const words = state.isLinked ? "live" : state.isLinked === null ? "connecting" : "connection lost, trying again";
  say(byId("link"), state.error ?? words);
  byId("link").dataset.linked = String(state.isLinked === true && !state.error);
  document.title = clean(page.update());
}

// A message over the page, for what has no place on it.
function tellProblem(message) {
  const note = h("div", { class: "toast wrong", role: "alert" }, message);
  document.body.append(note);
  setTimeout(() => note.remove(), 8000);
}

onChange = draw;
addEventListener("hashchange", route);
document.addEventListener("visibilitychange", draw);
setInterval(() => { if (!document.hidden && listed().some(isActive)) draw(); }, 5000);
route();
load();
follow(heard, linked);
