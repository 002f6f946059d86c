// Small charts over the time of a run, as SVG. Where a pixel holds several rows, or one that the service has merged, the line is
// their mean and the band goes from the lowest to the highest.

const PLOT = { left: 42, right: 8, top: 8, bottom: 20 };
const TICKS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
const LATEST_S = 10;
const OUTLIER = 3; // a peak so many times above the 98th percentile leaves the picture, with a mark
const RANGES = [["All", null], ["Last hour", 3600], ["Last 10 min", 600], ["Last 2 min", 120]];
const BREAK = 4; // a gap of so many usual rows breaks the line

// Three or four round values from 0 to high.
function levels(high) {
  const raw = high / 3;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((one) => one >= raw * 0.8);
  const found = [];
  for (let level = 0; level <= high + step * 1e-6; level += step) found.push(level);
  return found;
}

function levelText(level, step) {
  if (level === 0) return "0";
  if (level >= 1e6) return `${fixed(level / 1e6, step < 1e6 ? 1 : 0)} M`;
  if (level >= 1e4) return `${fixed(level / 1e3, step < 1e3 ? 1 : 0)} k`;
  const places = [0, 1, 2].find((one) => Math.abs(step * 10 ** one - Math.round(step * 10 ** one)) < 1e-6) ?? 3;
  return fixed(level, places);
}

function timeText(seconds) {
  if (seconds === 0) return "0";
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return seconds % 60 ? `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}` : `${seconds / 60} min`;
  const minutes = Math.round((seconds % 3600) / 60);
  return minutes ? `${Math.floor(seconds / 3600)} h ${String(minutes).padStart(2, "0")}` : `${seconds / 3600} h`;
}

function times(from, to, width) {
  const step = TICKS_S.find((one) => (to - from) / one <= width / 50) ?? 86400;
  const found = [];
  for (let time = Math.ceil(from / step) * step; time <= to; time += step) found.push(time);
  return found;
}

function valueOf(row, series) {
  return series.pick ? series.pick(row) : row[series.key];
}

// One point a pixel: {x, low, high, mean} in the order of time, null where the line breaks.
function columns(rows, series, from, to, width, keepsRests) {
  const usual = median(rows.map((row) => row.end_s - row.start_s)) ?? 1;
  const found = [];
  let last = null;
  let lastEnd = null;
  for (const row of rows) {
    const value = valueOf(row, series);
    const isRest = !keepsRests && row.end_s - row.start_s < usual / 2; // the last one: a rate of a few ms tells nothing
    if (value === null || value === undefined || isRest) continue;
    const x = Math.round(((row.end_s - from) / (to - from)) * width);
    if (lastEnd !== null && row.end_s - lastEnd > BREAK * Math.max(usual, row.end_s - row.start_s)) {
      found.push(null);
      last = null;
    }
    lastEnd = row.end_s;
    if (last?.x !== x) found.push((last = { x, low: value, high: value, total: 0, n: 0 }));
    last.low = Math.min(last.low, value);
    last.high = Math.max(last.high, value, row.peaks?.[series.key] ?? value);
    last.total += value;
    last.n += 1;
    last.mean = last.total / last.n;
  }
  return found;
}

// The highest value that the picture shows.
function topOf(lines) {
  const values = lines.flat().filter(Boolean).map((point) => point.high).sort((a, b) => a - b);
  if (!values.length) return 1;
  const most = values.at(-1);
  const usual = values[Math.floor(0.98 * (values.length - 1))];
  return (most > OUTLIER * usual && usual > 0 ? 1.4 * usual : most * 1.06) || 1;
}

function path(points, x, y) {
  let isOpen = false;
  let text = "";
  for (const [i, point] of points.entries()) {
    if (!point) {
      isOpen = false;
      continue;
    }
    const isAlone = !isOpen && !points[i + 1];
    text += `${isOpen ? "L" : "M"}${x(point).toFixed(1)},${y(point.mean).toFixed(1)}${isAlone ? "h.01" : ""}`;
    isOpen = true;
  }
  return text;
}

function band(points, x, y) {
  let text = "";
  let part = [];
  for (const point of [...points, null]) {
    if (point) {
      part.push(point);
      continue;
    }
    if (part.some((one) => one.high > one.low)) {
      const up = part.map((one) => `${x(one).toFixed(1)},${y(one.high).toFixed(1)}`);
      const down = part.map((one) => `${x(one).toFixed(1)},${y(one.low).toFixed(1)}`).reverse();
      text += `M${[...up, ...down].join("L")}Z`;
    }
    part = [];
  }
  return text;
}

// spec: {title, unit, series: [{label, key or pick, set}], isBars, total}. set: which of the lists of rows it is of.
class Chart {
  constructor(spec, group) {
    this.spec = spec;
    this.group = group;
    this.readings = spec.series.map(() => h("b"));
    this.note = h("span.note");
    const legend = spec.series.map((series, i) =>
      h("span", { class: `key s${series.colour ?? i}` }, h("i", { "aria-hidden": "true" }), series.label ? `${series.label} ` : "", this.readings[i]),
    );
    this.svg = s("svg", { tabindex: "0", role: "img", class: "plot" });
    this.node = h("figure.chart", h("figcaption", h("span.title", spec.title, h("small", ` ${spec.unit}`)), h("span.keys", legend)), this.svg, this.note);
    this.svg.addEventListener("pointermove", (event) => group.point(this.timeAt(event)));
    this.svg.addEventListener("pointerdown", (event) => group.point(this.timeAt(event)));
    this.svg.addEventListener("pointerleave", () => group.point(null));
    this.svg.addEventListener("blur", () => group.point(null));
    this.svg.addEventListener("keydown", (event) => this.step(event));
  }

  timeAt(event) {
    const box = this.svg.getBoundingClientRect();
    const part = (event.clientX - box.left - PLOT.left) / (box.width - PLOT.left - PLOT.right);
    return this.from + Math.min(Math.max(part, 0), 1) * (this.to - this.from);
  }

  step(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.group.point(null);
    if (!by || this.to === undefined) return;
    event.preventDefault();
    const start = this.group.at_s ?? this.to;
    const next = start + (by * (this.to - this.from)) / 60;
    this.group.point(Math.min(Math.max(next, this.from), this.to));
  }

  draw(sets, from, to) {
    [this.sets, this.from, this.to] = [sets, from, to];
    const size = Math.max(Math.floor(this.svg.clientWidth), 160);
    const width = size - PLOT.left - PLOT.right;
    const height = this.svg.clientHeight || 132;
    const depth = height - PLOT.top - PLOT.bottom;
    const lines = this.spec.series.map((series) => columns(sets[series.set ?? 0], series, from, to, width, this.spec.isBars));
    const top = topOf(lines);
    this.isEmpty = !lines.flat().some((point) => point?.high > 0);
    const x = (point) => PLOT.left + point.x;
    const y = (value) => PLOT.top + (1 - Math.min(value / top, 1)) * depth;
    this.scale = { width, depth };
    this.cursor = s("line", { class: "cursor", y1: PLOT.top, y2: PLOT.top + depth, visibility: "hidden" });
    this.svg.setAttribute("viewBox", `0 0 ${size} ${height}`);
    this.svg.replaceChildren(...this.grid(top, y, width, size, height), ...lines.flatMap((points, i) => this.line(points, i, x, y, top)), this.cursor);
    const peak = Math.max(0, ...lines.flat().filter(Boolean).map((point) => point.high));
    say(this.note, peak > top ? `▲ ${rough(peak)} at most` : "");
    this.read(this.group.at_s);
  }

  grid(top, y, width, size, height) {
    const found = [];
    const ticks = this.spec.isBars && this.isEmpty ? [0] : levels(top);
    for (const level of ticks) {
      const at = y(level).toFixed(1);
      found.push(s("line", { class: level ? "grid" : "axis", x1: PLOT.left, x2: size - PLOT.right, y1: at, y2: at }));
      found.push(s("text", { x: PLOT.left - 6, y: y(level) + 3.5, "text-anchor": "end" }, levelText(level, ticks[1] ?? top)));
    }
    for (const time of times(this.from, this.to, width)) {
      const at = PLOT.left + ((time - this.from) / (this.to - this.from)) * width;
      if (at > size - PLOT.right - 8 && time !== 0) continue;
      found.push(s("text", { x: at.toFixed(1), y: height - 5, "text-anchor": time === this.from ? "start" : "middle" }, timeText(time)));
    }
    return found;
  }

  line(points, i, x, y, top) {
    const colour = `s${this.spec.series[i].colour ?? i}`;
    if (this.spec.isBars) {
      const bars = points.filter((point) => point?.mean > 0).map((point) => `M${x(point)},${y(0)}V${Math.min(y(point.high), y(0) - 2).toFixed(1)}`);
      return [s("path", { class: `bars ${colour}`, d: bars.join("") })];
    }
    const above = points.filter((point) => point && point.high > top).map((point) => `M${x(point) - 3},${PLOT.top + 1}h6l-3,-6z`);
    return [
      s("path", { class: `band ${colour}`, d: band(points, x, y) }),
      s("path", { class: `curve ${colour}`, d: path(points, x, y) }),
      s("path", { class: `above ${colour}`, d: above.join("") }),
    ];
  }

  // The figures beside the names: of the time that is pointed at, else of the whole run that has ended, else the latest.
  read(at_s) {
    const found = this.spec.series.map((series) => {
      const rows = this.sets[series.set ?? 0];
      const whole = this.group.whole[series.set ?? 0];
      if (at_s === null && whole) return whole[series.key] ?? null;
      if (at_s === null) return latest(rows, series);
      const row = nearest(rows, at_s);
      return row ? valueOf(row, series) : null;
    });
    const isTotal = at_s === null && this.spec.total;
    this.readings.forEach((reading, i) => say(reading, isTotal ? this.spec.total(this.sets[0]) : (this.spec.series[i].format ?? rough)(found[i])));
    const words = this.spec.series.map((series, i) => `${series.label ?? ""} ${this.readings[i].textContent}`.trim());
    this.svg.setAttribute("aria-label", `${this.spec.title}, ${this.spec.unit}: ${words.join(", ")}`);
    if (!this.cursor) return;
    this.cursor.setAttribute("visibility", at_s === null ? "hidden" : "visible");
    if (at_s === null) return;
    const at = PLOT.left + ((at_s - this.from) / (this.to - this.from)) * this.scale.width;
    this.cursor.setAttribute("x1", at.toFixed(1));
    this.cursor.setAttribute("x2", at.toFixed(1));
  }
}

function nearest(rows, at_s) {
  let [low, high] = [0, rows.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].end_s < at_s) low = middle + 1;
    else high = middle;
  }
  const row = rows[low];
  return row && row.start_s <= at_s + 1 && at_s <= row.end_s + 1 ? row : null;
}

// Charts that share their stretch of time and what one points at. extent: up to which time, where it is known.
class Charts {
  constructor(specs, ranges = true) {
    this.at_s = null;
    this.range_s = null;
    this.sets = [[]];
    this.whole = [];
    this.charts = specs.map((spec) => new Chart(spec, this));
    this.when = h("span.when");
    this.buttons = (ranges ? RANGES : []).map(([label, range_s]) =>
      h("button", { type: "button", "aria-pressed": String(range_s === this.range_s), onclick: (event) => this.choose(range_s, event.target) }, label),
    );
    this.bar = h("div", { class: "ranges", role: "group", "aria-label": "Stretch of time" }, ranges ? this.buttons : h("h2", "Over time"), this.when);
    this.grid = h("div", { class: ranges ? "charts" : "charts pair" }, this.charts.map((chart) => chart.node));
    this.node = h("section", { class: "graphs", "aria-label": "Charts" }, this.bar, this.grid);
    new ResizeObserver(() => this.draw()).observe(this.grid);
  }

  choose(range_s, button) {
    this.range_s = range_s;
    for (const one of this.buttons) one.setAttribute("aria-pressed", String(one === button));
    this.draw();
  }

  // whole: for each list of rows the figures of the run, once it has ended.
  update(sets, whole = []) {
    [this.sets, this.whole] = [sets, whole];
    if (!document.hidden) this.draw();
  }

  draw() {
    if (!this.grid.clientWidth) return;
    const end = Math.max(1, ...this.sets.map((rows) => rows.at(-1)?.end_s ?? 0));
    const from = this.range_s === null ? 0 : Math.max(0, end - this.range_s);
    for (const [i, button] of this.buttons.entries()) button.hidden = end <= (RANGES[i][1] ?? RANGES.at(-1)[1]);
    const shown = this.sets.map((rows) => (from ? rows.filter((row) => row.end_s >= from) : rows));
    for (const chart of this.charts) chart.draw(shown, from, end);
    this.tell();
  }

  point(at_s) {
    this.at_s = at_s;
    for (const chart of this.charts) if (chart.sets) chart.read(at_s);
    this.tell();
  }

  tell() {
    const latestWords = this.sets[0].length && !this.whole[0] ? `figures of the last ${LATEST_S} s` : "";
    say(this.when, this.at_s === null ? latestWords : `at ${duration(this.at_s)}`);
  }
}

// The mean of the last seconds: single ones jump. What counts at an instant is the last.
function latest(rows, series) {
  if (series.format) return rows.length ? valueOf(rows.at(-1), series) : null;
  const known = lastRows(rows, LATEST_S).map((row) => valueOf(row, series)).filter((value) => Number.isFinite(value));
  return known.length ? known.reduce((total, value) => total + value, 0) / known.length : null;
}

// The figures of a run that has ended; its mean of what the list of runs does not have.
function wholeOf(run, rows) {
  if (!run?.headline || !isOver(run)) return null;
  const seconds = sum(rows.map((row) => ({ length: row.end_s - row.start_s })), "length");
  const inFlight = rows.reduce((total, row) => total + row.in_flight * (row.end_s - row.start_s), 0) / seconds;
  return { in_flight: inFlight, schedule_lag_ms_p99: rows.at(-1)?.schedule_lag_ms_p99, client_lag_ms_p99: rows.at(-1)?.client_lag_ms_p99, ...run.headline };
}

function perSecond(key) {
  return (row) => (row[key] ?? 0) / Math.max(row.end_s - row.start_s, 1e-9);
}

const RUN_CHARTS = [
  { title: "Output tokens", unit: "tokens/s", series: [{ key: "output_tokens_per_s" }] },
  { title: "TTFT", unit: "ms", series: [{ label: "p50", key: "ttft_ms_p50" }, { label: "p99", key: "ttft_ms_p99" }] },
  { title: "ITL", unit: "ms", series: [{ label: "p50", key: "itl_ms_p50" }, { label: "p99", key: "itl_ms_p99" }] },
  { title: "Throughput", unit: "requests/s", series: [{ key: "requests_per_s" }] },
  { title: "In flight", unit: "requests", series: [{ key: "in_flight", format: count }] },
  { title: "Errors", unit: "requests/s", isBars: true, series: [{ pick: perSecond("errors"), colour: "bad" }], total: (rows) => (sum(rows, "errors") ? `${count(sum(rows, "errors"))} in all` : "none") },
  { title: "Client lag", unit: "p99, ms", series: [{ label: "send", key: "schedule_lag_ms_p99" }, { label: "read", key: "client_lag_ms_p99" }] },
];

const BOTH = [["output_tokens_per_s", "Output tokens", "tokens/s"], ["ttft_ms_p50", "TTFT p50", "ms"], ["ttft_ms_p99", "TTFT p99", "ms"], ["itl_ms_p50", "ITL p50", "ms"], ["itl_ms_p99", "ITL p99", "ms"], ["in_flight", "In flight", "requests"]];
const COMPARED_CHARTS = BOTH.map(([key, title, unit]) => {
  const format = key === "in_flight" ? count : rough;
  return { title, unit, series: [{ label: "A", key, format, set: 0, colour: 0 }, { label: "B", key, format, set: 1, colour: 2 }] };
});

// Output tokens/s over a past run, as tall as a line of text.
function sparkline(values) {
  const known = (values ?? []).filter((value) => Number.isFinite(value));
  if (known.length < 2) return h("span.dim", NOTHING);
  const most = Math.max(...known) || 1;
  const points = known.map((value, i) => `${((i / (known.length - 1)) * 100).toFixed(1)},${(23 - (value / most) * 21).toFixed(1)}`);
  const words = `output tokens/s over the run: ${rough(known[0])} at first, ${rough(known.at(-1))} at last, ${rough(most)} at most`;
  return s("svg", { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", role: "img", "aria-label": words },
    s("title", words),
    s("path", { class: "area", d: `M0,24L${points.join("L")}L100,24Z` }),
    s("path", { class: "curve s0", d: `M${points.join("L")}`, "vector-effect": "non-scaling-stroke" }));
}
