// Whether a run goes well right now, in a few words: from its last minute, before there is a verdict.

const WATCHED_S = 60;
const SILENT_S = 15;
const VARIED = ["sweep", "fit", "capacity"]; // kinds whose load changes from run to run
const LEVELS = { trusted: "Trusted", caution: "Caution", untrusted: "Not trusted", unknown: "Unknown" };
const MARKS = { trusted: "✓", caution: "!", untrusted: "✕", unknown: "?" };
const PHASES = {
  queued: "Queued",
  waiting: "Waiting for the server",
  running: "Running",
  finished: "Finished",
  failed: "Failed",
  cancelled: "Cancelled",
  interrupted: "Interrupted",
};

function sum(rows, key) {
  return rows.reduce((total, row) => total + (row[key] ?? 0), 0);
}

function median(values) {
  const known = values.filter((value) => value !== null && value !== undefined).sort((a, b) => a - b);
  return known.length ? known[known.length >> 1] : null;
}

function lastRows(rows, seconds) {
  const end = rows.at(-1)?.end_s ?? 0;
  return rows.filter((row) => row.end_s > end - seconds);
}

// {level, words}: levels are those of a verdict.
function health(run, rows) {
  if (run.phase === "waiting") return { level: "unknown", title: "Waiting", words: run.note || "the server does not answer yet" };
  const silent_s = (Date.now() - (heardAt.get(run.id) ?? Date.now())) / 1000;
  if (state.isLinked === false) return { level: "unknown", title: "Unknown", words: "the service does not answer" };
  if (silent_s > SILENT_S) return { level: "caution", title: "Silent", words: `no news for ${ahead(silent_s)}` };
  if (!rows.length) return { level: "unknown", title: "Starting", words: run.note || "no request has ended yet" };
  const isVaried = VARIED.includes(run.kind);
  const concerns = [failing(rows), lagging(rows), isVaried ? null : slowing(rows)].filter(Boolean);
  if (!concerns.length) return { level: "trusted", title: "Fine", words: calm(rows, isVaried) };
  const isBad = concerns.some((concern) => concern.isBad);
  return { level: isBad ? "untrusted" : "caution", title: isBad ? "In trouble" : "Look", words: concerns.map((concern) => concern.words).join("; ") };
}

function calm(rows, isVaried) {
  const failed = sum(rows, "errors");
  if (failed) return `no errors in the last minute, ${count(failed)} before it`;
  return isVaried ? "no errors" : "no errors, throughput steady";
}

// The thresholds of the verdict: 1 % of the requests moves p99, above a fifth the latencies are of another load.
function failing(rows) {
  const recent = lastRows(rows, WATCHED_S);
  const failed = sum(recent, "errors");
  if (!failed) return null;
  const part = failed / Math.max(sum(recent, "done"), failed);
  return { isBad: part > 0.2, words: `${share(part)} of the last minute’s requests failed` };
}

function lagging(rows) {
  const recent = lastRows(rows, WATCHED_S);
  const ttft = median(recent.map((row) => row.ttft_ms_p50));
  const lag = median(recent.map((row) => row.schedule_lag_ms_p99));
  if (!ttft || !lag || lag < 0.05 * ttft || lag < 1) return null;
  return { isBad: lag > 0.5 * ttft, words: `the client’s machine is busy: 1 % of the requests leave ${rough(lag)} ms late or more` };
}

function slowing(rows) {
  const end = rows.at(-1).end_s;
  if (end < 3 * WATCHED_S) return null;
  const before = median(rows.filter((row) => row.end_s <= end - WATCHED_S).map((row) => row.output_tokens_per_s));
  const now = median(lastRows(rows, WATCHED_S).map((row) => row.output_tokens_per_s));
  if (!before || now >= 0.8 * before) return null;
  return { isBad: now < 0.3 * before, words: `throughput is ${share(1 - now / before)} below the run’s median` };
}

function verdictBadge(level, words) {
  return h("span", { class: `badge ${level}` }, h("span", { class: "mark", "aria-hidden": "true" }, MARKS[level] ?? "?"), words ?? LEVELS[level] ?? level);
}

// What stands in the column of a past run: its verdict, or why it has none.
function outcome(run) {
  if (run.phase === "finished" && run.verdict) return verdictBadge(run.verdict.level);
  const level = { failed: "untrusted", interrupted: "caution" }[run.phase] ?? "none";
  const badge = verdictBadge(level, PHASES[run.phase] ?? run.phase);
  if (level === "none") badge.firstChild.remove();
  return badge;
}
