// One run from near: what it is, whether it goes well, how long it takes, and its charts.

const DRAWN = ["bench", "start-load", "stress"];

function title(run) {
  return run.label?.trim() || `${run.kind} ${run.id}`;
}

// The settings of a request in one level, whatever its kind.
function settingsOf(request) {
  const found = {};
  const spread = (value) => {
    for (const [key, one] of Object.entries(value ?? {})) {
      if (["target", "workload", "load", "limits", "plan", "payload", "stress"].includes(key) && one && typeof one === "object") spread(one);
      else found[key] ??= one;
    }
  };
  spread(request);
  return found;
}

// llama-8b, 12 requests/s, at most 64 at a time, sonnet 512 → 128 tokens
function loadWords(request) {
  const found = settingsOf(request);
  const rate = Number(found.request_rate);
  const [into, out] = ["input_len", "output_len"].map((key) => found[key] ?? found[`${found.dataset_name}_${key}`]);
  return [
    found.model,
    rate && Number.isFinite(rate) ? `${rough(rate)} requests/s` : "",
    found.max_concurrency ? `${rate ? "at most " : ""}${count(found.max_concurrency)} at a time` : "",
    [found.dataset_name, into && out ? `${count(into)} → ${count(out)} tokens` : ""].filter(Boolean).join(" "),
  ].filter(Boolean).join(", ");
}

function elapsed_s(run, rows) {
  if (!run.started_at) return null;
  if (run.ended_at) return (new Date(run.ended_at) - new Date(run.started_at)) / 1000;
  return rows.at(-1)?.end_s ?? Math.max((Date.now() - new Date(run.started_at)) / 1000, 0);
}

function tile(label) {
  const [big, small] = [h("div.big"), h("div.small")];
  return { node: h("div.tile", h("div.label", label), big, small), big, small };
}

class Card {
  constructor(run, level) {
    this.id = run.id;
    this.phase = h("span.phase");
    this.heading = h(level, null, h("a", { href: `#/run/${encodeURIComponent(run.id)}` }, name(title(run))));
    this.about = h("p.about");
    this.button = h("button", { type: "button", onclick: () => cancel(this.run, this.button) }, "Cancel");
    this.again = h("a", { class: "button", href: `#/new?from=${encodeURIComponent(run.id)}` }, "Run again");
    [this.state, this.left, this.done] = [tile("State"), tile("Time left"), tile("Done")];
    this.bar = h("progress", { max: "1", "aria-label": "Progress" });
    this.note = h("p.said");
    this.charts = new Charts(RUN_CHARTS);
    this.node = h("article.card.run",
      h("div.head", h("div.what", this.phase, this.heading, this.about), h("div.buttons", this.again, this.button)),
      h("div.tiles", this.state.node, this.left.node, this.done.node),
      this.bar, this.note, this.charts.node);
  }

  update(run) {
    this.run = run;
    const known = detail(run.id);
    const rows = known?.intervals ?? [];
    this.node.dataset.phase = run.phase;
    this.tellWhat(run, known);
    if (isActive(run)) this.tellState(known?.isLoaded ? health(run, rows) : { level: "unknown", title: "Looking", words: "" });
    else this.tellOutcome(run);
    this.tellTime(run, rows);
    this.tellDone(run);
    const note = run.error ? run.error : this.saysNote(run) ? run.note : "";
    say(this.note, note);
    this.note.classList.toggle("wrong", Boolean(run.error));
    this.note.hidden = !note;
    this.tellCharts(run, known, rows);
  }

  saysNote(run) {
    return run.note && isActive(run) && clean(run.note) !== this.state.small.textContent;
  }

  tellWhat(run, known) {
    say(this.phase, PHASES[run.phase] ?? run.phase);
    this.phase.className = `phase ${run.phase}`;
    const words = [run.kind, run.target, loadWords(known?.request)].filter(Boolean).join(" · ");
    say(this.about, words);
    this.button.hidden = isOver(run);
    this.again.hidden = !isOver(run);
  }

  tellState({ level, title: state, words }) {
    this.state.node.dataset.level = level;
    say(this.state.node.firstChild, isOver(this.run) ? "Verdict" : "State");
    const key = `${level} ${state}`;
    if (this.state.big.dataset.key !== key) this.state.big.replaceChildren(verdictBadge(level, state));
    this.state.big.dataset.key = key;
    say(this.state.small, words);
  }

  tellOutcome(run) {
    const level = run.verdict?.level;
    if (run.phase === "queued") return this.tellState({ level: "unknown", title: "Queued", words: "starts when the runs before it have ended" });
    if (level && run.phase === "finished") return this.tellState({ level, title: LEVELS[level] ?? level, words: reasonWords(run.verdict) });
    const over = { failed: "untrusted", interrupted: "caution" }[run.phase] ?? "unknown";
    return this.tellState({ level: over, title: PHASES[run.phase] ?? run.phase, words: run.phase === "cancelled" ? "what was measured is kept" : run.note });
  }

  tellTime(run, rows) {
    const gone = elapsed_s(run, rows);
    const started = run.started_at ? `started ${clock(new Date(run.started_at))}` : run.created_at ? `asked for ${clock(new Date(run.created_at))}` : "";
    const label = this.left.node.firstChild;
    if (isActive(run) && Number.isFinite(run.time_left_s)) {
      say(label, "Time left");
      say(this.left.big, ahead(run.time_left_s));
      const ends = clock(new Date(Date.now() + run.time_left_s * 1000));
      return say(this.left.small, `until about ${ends}, ${gone === null ? "" : `${ahead(gone)} gone`}`.replace(/, $/, ""));
    }
    say(label, isActive(run) ? "Running for" : "Took");
    say(this.left.big, gone === null ? NOTHING : ahead(gone));
    return say(this.left.small, run.ended_at && run.started_at ? `${clock(new Date(run.started_at))} to ${clock(new Date(run.ended_at))}` : started);
  }

  tellDone(run) {
    const part = run.progress;
    const isKnown = Number.isFinite(part);
    say(this.done.big, isKnown ? `${Math.floor(100 * part)} %` : count(run.done ?? null));
    const failed = run.headline?.failed;
    const words = [run.asked ? `${count(run.done ?? 0)} of ${plural(run.asked, "request")}` : run.done ? plural(run.done, "request") : "", failed ? `${count(failed)} failed` : ""];
    say(this.done.small, words.filter(Boolean).join(", "));
    this.bar.hidden = !isActive(run);
    if (isKnown) this.bar.value = part;
    else this.bar.removeAttribute("value");
  }

  tellCharts(run, known, rows) {
    const hides = !rows.length && (isOver(run) || run.phase === "queued" || !DRAWN.includes(run.kind));
    this.charts.node.hidden = hides;
    this.charts.node.classList.toggle("pale", !rows.length);
    const version = `${known?.version} ${run.phase}`;
    if (!hides && this.drawn !== version) this.charts.update([rows], [wholeOf(run, rows)]);
    this.drawn = version;
  }
}

function reasonWords(verdict) {
  const reasons = verdict.reasons ?? [];
  if (!reasons.length) return verdict.level === "trusted" ? "no reason to doubt the figures" : "";
  return reasons.length > 1 ? `${plural(reasons.length, "reason")}: ${reasons[0]}` : reasons[0];
}

// Asks first: a run of hours is easily ended by a slip of the hand.
function cancel(run, button) {
  const dialog = byId("cancel");
  say(byId("cancel-what"), title(run));
  const done = run.done ? `${plural(run.done, "request")} done so far; ` : "";
  say(byId("cancel-how"), isActive(run) ? `${done}vllmperf stops sending and keeps what was measured.` : "It has not begun. vllmperf takes it out of the queue.");
  dialog.returnValue = "";
  dialog.onclose = async () => {
    if (dialog.returnValue !== "cancel") return;
    button.disabled = true;
    say(button, "Stopping");
    try {
      await answered(runPath(run.id), { method: "DELETE" });
    } catch (error) {
      tellProblem(error.message);
    }
    await load();
    button.disabled = false;
    say(button, "Cancel");
  };
  dialog.showModal();
}
