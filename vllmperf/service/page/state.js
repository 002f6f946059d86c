// What this page knows of the service: its runs, the queue, and the intervals of the runs that somebody looks at.

const ACTIVE = ["running", "waiting"];
const KEPT_ROWS = 4500; // beyond it, ask for the rows again: the service merges old ones

const state = { runs: new Map(), order: [], next: null, total: 0, queue: [], queueLimit: null, isLoaded: false, isLinked: null, error: null };
const details = new Map();
const heardAt = new Map();
let onChange = () => {};
let wanted = 0;
let pending = null;
let reloading = null;

function changed() {
  pending ??= setTimeout(() => {
    pending = null;
    onChange();
  }, 60);
}

function listed() {
  return state.order.map((id) => state.runs.get(id));
}

function isActive(run) {
  return ACTIVE.includes(run.phase);
}

function isOver(run) {
  return !isActive(run) && run.phase !== "queued";
}

// The newest runs, and of those before them as many pages as were asked for.
async function load() {
  try {
    const found = await json("runs");
    const unlisted = [...(found.active ?? []), ...(found.queue ?? [])].filter((id) => !found.runs.some((run) => run.id === id));
    for (const id of unlisted) found.runs.push(await json(runPath(id)));
    while (found.next && found.runs.length < wanted) {
      const older = await json(`runs?limit=1000&before=${encodeURIComponent(found.next)}`);
      found.runs.push(...older.runs.filter((run) => !unlisted.includes(run.id)));
      found.next = older.next;
    }
    const ended = found.runs.filter((run) => isOver(run) && details.has(run.id) && !details.get(run.id).isWhole);
    state.runs = new Map(found.runs.map((run) => [run.id, run]));
    for (const run of ended) refresh(run.id);
    state.order = found.runs.map((run) => run.id);
    state.next = found.next ?? null;
    state.total = found.total ?? found.runs.length;
    state.queue = found.queue ?? [];
    state.queueLimit = found.queue_limit ?? null;
    state.error = null;
    for (const id of details.keys()) if (!state.runs.has(id)) details.delete(id);
  } catch (error) {
    state.error = error.message;
  }
  state.isLoaded = true;
  changed();
}

// Until so many runs are known.
function loadMore(count) {
  if (!state.next || count <= wanted) return;
  wanted = count;
  loadSoon();
}

// Several changes at once ask once.
function loadSoon() {
  reloading ??= setTimeout(() => {
    reloading = null;
    load();
  }, 150);
}

// The whole of a run, asked for once and then kept up to date by events.
function detail(id) {
  if (!details.has(id)) refresh(id);
  return details.get(id);
}

async function refresh(id) {
  const known = details.get(id) ?? { intervals: [], isLoaded: false, version: 0 };
  details.set(id, known);
  try {
    const found = await json(runPath(id));
    Object.assign(known, { request: found.request, files: found.files ?? [], uploads: found.uploads ?? [] });
    known.intervals = found.intervals ?? [];
    known.isWhole = isOver(found);
    known.error = null;
    if (!state.runs.has(id)) loadSoon();
  } catch (error) {
    known.error = error.message;
  }
  known.isLoaded = true;
  known.version += 1;
  changed();
}

function heard(kind, data) {
  heardAt.set(data.id, Date.now());
  if (kind === "run") heardRun(data);
  if (kind === "interval") heardInterval(data);
  changed();
}

function heardRun(run) {
  const before = state.runs.get(run.id);
  if (before) state.runs.set(run.id, { ...before, ...run });
  if (before?.phase !== run.phase) loadSoon();
}

function heardInterval(row) {
  const known = details.get(row.id);
  if (!known?.isLoaded) return;
  const last = known.intervals.at(-1);
  if (last && row.end_s <= last.end_s) return;
  known.intervals.push(row);
  known.version += 1;
  if (known.intervals.length > KEPT_ROWS) refresh(row.id);
}

// After an interruption nothing of what was missed is shown as if it had not been.
function linked(isLinked) {
  state.isLinked = isLinked;
  if (isLinked) {
    load();
    for (const id of details.keys()) refresh(id);
  }
  changed();
}
