// Two runs beside each other: what changed, and whether it is beyond chance.

const LESS_IS_BETTER = /_(ms|s)$|^failed/;
const METRICS = { ttft: "TTFT", tpot: "TPOT", itl: "ITL", itl_token: "ITL by token", e2el: "E2EL" };
const UNITS = { request_throughput: "Requests/s", output_throughput: "Output tokens/s", total_token_throughput: "Tokens/s in all", failed: "Failed requests" };

function figureLabel(key) {
  if (UNITS[key]) return UNITS[key];
  const found = /^([a-z]+|p[\d.]+)_(ttft|tpot|itl|itl_token|e2el)(_scheduled)?_ms$/.exec(key);
  if (!found) return key.replaceAll("_", " ").replace(/ ms$/, ", ms");
  const word = { mean: "mean", median: "p50", std: "std" }[found[1]] ?? found[1];
  return `${METRICS[found[2]]}${found[3] ? " from schedule" : ""} ${word}, ms`;
}

class ComparePage {
  constructor(query) {
    this.sides = ["a", "b"].map((side) => h("select", { id: `side-${side}`, onchange: () => this.go() }));
    this.wanted = [query.get("a"), query.get("b")];
    this.result = h("div");
    this.charts = new Charts(COMPARED_CHARTS, false);
    this.charts.node.hidden = true;
    const label = (side, letter) => h("label", { class: `side s${letter === "A" ? 0 : 2}` }, h("span", h("i", { "aria-hidden": "true" }), letter), side);
    this.node = h("div.page",
      h("section.card", h("h1", "Compare two runs"),
        h("div.sides", label(this.sides[0], "A"), h("button", { type: "button", onclick: () => this.swap() }, "Swap"), label(this.sides[1], "B"))),
      this.result, h("section.card", this.charts.node));
    this.node.lastChild.hidden = true;
  }

  go() {
    const [a, b] = this.sides.map((side) => encodeURIComponent(side.value));
    location.replace(`#/compare?a=${a}&b=${b}`);
  }

  swap() {
    [this.sides[0].value, this.sides[1].value] = [this.sides[1].value, this.sides[0].value];
    this.go();
  }

  update() {
    const runs = listed().filter((run) => run.headline && isOver(run));
    const key = runs.map((run) => run.id + title(run)).join();
    if (this.key !== key) this.fill(runs, key);
    if (state.isLoaded && !this.isAsked && this.wanted.every(Boolean)) this.compare();
    if (state.isLoaded && !this.wanted.every(Boolean) && !this.result.childElementCount) this.explain(runs);
    this.tellCharts();
    return "Compare – vllmperf";
  }

  fill(runs, key) {
    this.key = key;
    this.sides.forEach((side, i) => {
      const choices = runs.map((run) => h("option", { value: run.id }, `${title(run)} · ${clock(new Date(run.started_at ?? run.created_at))}`));
      side.replaceChildren(h("option", { value: "" }, "Choose a run"), ...choices);
      side.value = this.wanted[i] ?? "";
    });
  }

  explain(runs) {
    const words = runs.length < 2 ? "Two runs must have ended before they can be compared." : "Choose two runs. The table shows what changed from A to B, and what of it is beyond chance.";
    this.result.replaceChildren(h("p.card.dim", words));
  }

  async compare() {
    this.isAsked = true;
    const [a, b] = this.wanted;
    this.result.replaceChildren(h("p.card.dim", "Comparing"));
    try {
      const found = await json(`compare?a=${encodeURIComponent(a)}&b=${encodeURIComponent(b)}`);
      this.result.replaceChildren(h("section.card", ...comparison(found)));
    } catch (error) {
      this.result.replaceChildren(h("p.card.wrong", error.message));
    }
  }

  tellCharts() {
    if (!this.wanted.every(Boolean)) return;
    const known = this.wanted.map(detail);
    const version = known.map((one) => one?.version).join();
    if (this.version === version || !known.some((one) => one?.intervals.length)) return;
    this.version = version;
    this.charts.node.hidden = this.node.lastChild.hidden = false;
    const sets = known.map((one) => one?.intervals ?? []);
    this.charts.update(sets, sets.map((rows, i) => wholeOf(state.runs.get(this.wanted[i]), rows)));
  }
}

// The table, what was not the same on both sides, and how to read it.
function comparison(found) {
  const figures = Object.entries(found.figures ?? {});
  const tested = figures.filter(([, one]) => one.p !== undefined);
  const shown = tested.length ? tested : figures;
  const rows = shown.map(([key, one]) => h("tr", h("th", { scope: "row" }, figureLabel(key)), h("td.n", rough(one.a)), h("td.n", rough(one.b)), h("td.n", signed(one.change)), h("td.n.dim", interval(one.change_ci95)), h("td", judged(key, one))));
  const heads = ["A", "B", "Change", "95 % interval"].map((head) => h("th", { scope: "col", class: "n" }, head));
  const beyond = tested.filter(([, one]) => one.beyond_chance).length;
  const summary = tested.length ? `${count(beyond)} of ${plural(tested.length, "figure")} changed beyond chance.${found.paired ? " Both runs sent the same requests, so times of requests are paired." : ""}` : "Chance cannot be told: a side has no single requests.";
  return [h("h2", summary), h("div", { class: "scroll", tabindex: "0" }, h("table.figures-table", h("thead", h("tr", h("th", { scope: "col" }, "Figure"), heads, h("th", { scope: "col" }, "Beyond chance?"))), h("tbody", rows))), ...differs(found.differs)];
}

function signed(part) {
  if (part === null || part === undefined) return NOTHING;
  return `${part > 0 ? "+" : part < 0 ? "−" : ""}${fixed(Math.abs(100 * part), 1)} %`;
}

function interval(both) {
  return both ? `${signed(both[0])} … ${signed(both[1])}` : "";
}

function judged(key, one) {
  if (one.p === undefined) return "";
  if (one.beyond_chance === null) return h("span.dim", "too few requests");
  if (!one.beyond_chance) return h("span.dim", "within chance");
  const isBetter = one.b > one.a !== LESS_IS_BETTER.test(key);
  return verdictBadge(isBetter ? "trusted" : "untrusted", isBetter ? "better" : "worse");
}

function differs(found) {
  const parts = Object.entries(found ?? {}).map(([part, settings]) => {
    const items = Object.entries(settings ?? {}).map(([key, [a, b]]) => h("li", h("code", key), ` ${JSON.stringify(a)} → ${JSON.stringify(b)}`));
    return items.length ? [h("h3", part === "plan" ? "The plan differs" : "The client’s machine differs"), h("ul.differs", items)] : [];
  });
  return parts.flat();
}
