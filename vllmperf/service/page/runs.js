// The first page: what runs now, what waits, what has been.

const SHOWN = 50;
const picked = [];

class Runs {
  constructor() {
    this.shown = SHOWN;
    this.now = h("div.now");
    this.idle = this.idleCard();
    this.queueTitle = h("h2", "Queue");
    this.queueCount = h("span.dim");
    this.queue = h("ol.queue");
    this.queueCard = h("section", { class: "card", "aria-label": "Queue" }, h("div.row", this.queueTitle, this.queueCount), this.queue);
    this.filter = h("input", { type: "search", placeholder: "Filter by name, kind, target", "aria-label": "Filter past runs", oninput: () => this.update() });
    this.compare = h("a", { class: "button main", href: "#/compare" }, "Compare");
    this.hint = h("span.dim");
    this.body = h("tbody");
    this.more = h("button", { type: "button", onclick: () => { this.shown += SHOWN; this.update(); } });
    this.empty = h("p.dim.empty");
    this.table = pastTable(this.body);
    this.past = h("section", { class: "card", "aria-label": "Past runs" }, h("div.row", h("h2", "Past runs"), this.hint, this.compare, this.filter), this.table, this.empty, this.more);
    this.node = h("div.page", h("h1.out", "Runs"), this.now, this.idle, this.queueCard, this.past);
  }

  idleCard() {
    return h("section.card.idle",
      h("div", h("h2", "Nothing runs"), h("p.dim", "Start a run here, or send a payload to ", h("code", "/start-load"), ".")),
      h("a", { class: "button main", href: "#/new" }, "New run"));
  }

  update() {
    const runs = listed();
    const active = runs.filter(isActive);
    keyed(this.now, active, (run) => new Card(run, "h2"));
    this.idle.hidden = !state.isLoaded || active.length > 0;
    this.updateQueue();
    this.updatePast(runs.filter(isOver));
    return pageTitle(active);
  }

  updateQueue() {
    const waiting = state.queue.map((id) => state.runs.get(id)).filter(Boolean);
    this.queueCard.hidden = !waiting.length;
    say(this.queueCount, state.queueLimit ? `${count(waiting.length)} of ${count(state.queueLimit)} places taken` : "");
    keyed(this.queue, waiting, queueRow);
  }

  updatePast(past) {
    const wanted = this.filter.value.trim().toLowerCase();
    loadMore(wanted ? state.total : this.shown);
    const unknown = wanted ? 0 : state.total - state.order.length;
    const found = wanted ? past.filter((run) => [run.label, run.id, run.kind, run.target, run.phase].join(" ").toLowerCase().includes(wanted)) : past;
    for (const id of [...picked]) if (!state.runs.has(id)) picked.splice(picked.indexOf(id), 1);
    keyed(this.body, found.slice(0, this.shown), (run) => new PastRow(run, () => this.update()));
    this.table.hidden = !found.length;
    this.filter.hidden = past.length < 6 && !wanted;
    this.more.hidden = found.length + unknown <= this.shown;
    say(this.more, `Show ${count(Math.min(SHOWN, found.length + unknown - this.shown))} more of ${count(found.length + unknown)}`);
    this.empty.hidden = found.length > 0 || !state.isLoaded;
    say(this.empty, wanted && past.length ? "No run has this in its name, kind or target." : "No run has ended yet. Each leaves its figures, its verdict and a report here.");
    this.compare.hidden = picked.length !== 2;
    this.compare.href = `#/compare?a=${encodeURIComponent(picked[0])}&b=${encodeURIComponent(picked[1])}`;
    say(this.hint, picked.length === 1 ? "Pick one more to compare" : "");
  }
}

function pageTitle(active) {
  if (!active.length) return "vllmperf";
  const [run] = active;
  const part = Number.isFinite(run.progress) ? `${Math.floor(100 * run.progress)} % ` : "";
  return `${part}${title(run)} – vllmperf`;
}

function queueRow(run) {
  const button = h("button", { type: "button", onclick: () => cancel(state.runs.get(run.id), button), "aria-label": `Cancel ${title(run)}` }, "Cancel");
  const about = h("span.dim");
  const node = h("li", h("div", h("a", { href: `#/run/${encodeURIComponent(run.id)}` }, name(title(run))), about), button);
  return { node, update: (now) => say(about, [now.kind, now.target, now.asked ? plural(now.asked, "request") : "", now.created_at ? `since ${clock(new Date(now.created_at))}` : ""].filter(Boolean).join(" · ")) };
}

const COLUMNS = [
  ["Verdict", ""], ["Run", ""], ["Tokens/s over time", "wide"], ["Requests", "n"], ["Requests/s", "n"], ["Tokens/s", "n"], ["TTFT p50 / p99", "n"], ["ITL p50 / p99", "n"], ["Compare", ""],
];

function pastTable(body) {
  const heads = COLUMNS.map(([label, kind]) => h("th", { scope: "col", class: kind }, label));
  return h("table.past", h("thead", h("tr", heads)), body);
}

class PastRow {
  constructor(run, onPick) {
    this.box = h("input", { type: "checkbox", "aria-label": `Compare ${title(run)}`, onchange: () => this.pick(run.id, onPick) });
    this.node = h("tr");
  }

  pick(id, onPick) {
    if (picked.includes(id)) picked.splice(picked.indexOf(id), 1);
    else picked.push(id);
    if (picked.length > 2) picked.shift();
    onPick();
  }

  update(run) {
    this.box.checked = picked.includes(run.id);
    const key = JSON.stringify(run);
    if (this.key === key) return;
    this.key = key;
    this.box.disabled = !run.headline;
    const figures = run.headline ?? {};
    const pair = (metric) => (figures[`${metric}_p50`] === undefined || figures[`${metric}_p50`] === null ? NOTHING : `${rough(figures[`${metric}_p50`])} / ${rough(figures[`${metric}_p99`])} ms`);
    const cells = [outcome(run), runCell(run), sparkline(run.spark), doneCell(figures, run), rough(figures.requests_per_s), rough(figures.output_tokens_per_s), pair("ttft_ms"), pair("itl_ms"), h("label.pick", this.box, h("span", "Compare"))];
    this.node.replaceChildren(...cells.map((cell, i) => h("td", { class: COLUMNS[i][1], "data-label": COLUMNS[i][0] }, cell)));
  }
}

function runCell(run) {
  const when = run.started_at ?? run.created_at;
  const took = elapsed_s(run, []);
  const words = [run.kind, when ? clock(new Date(when)) : "", took === null ? "" : ahead(took)].filter(Boolean).join(" · ");
  const said = run.error ? h("div", { class: "wrong clip", title: run.error }, run.error) : null;
  return h("div.who", h("a", { href: `#/run/${encodeURIComponent(run.id)}`, class: "clip", title: title(run) }, name(title(run))), h("div.dim", words), said);
}

function doneCell(figures, run) {
  const failed = figures.failed ? h("div.wrong", `${count(figures.failed)} failed`) : null;
  return h("div", count(figures.completed ?? run.done ?? null), failed);
}
