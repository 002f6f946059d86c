// What goes over the wire: requests with the token, errors as the service words them, and the stream of events.
// Addresses are relative, so that the page works behind a proxy with a path of its own.

const TOKEN = "vllmperf-token";
const SILENCE_MS = 60000;

class Refused extends Error {
  constructor(status, message, field) {
    super(message);
    this.status = status;
    this.field = field ?? null;
  }
}

let asking = null;

// Asks once, however many requests were refused at the same time.
function askForToken() {
  asking ??= new Promise((resolve) => {
    const dialog = byId("token");
    say(byId("token-error"), sessionStorage.getItem(TOKEN) ? "The service refused this token. Check it and try again." : "");
    dialog.oncancel = (event) => event.preventDefault();
    dialog.onclose = () => {
      sessionStorage.setItem(TOKEN, byId("token-value").value.trim());
      byId("token-value").value = "";
      asking = null;
      resolve();
    };
    dialog.showModal();
  });
  return asking;
}

async function ask(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    const response = await fetch(path, { ...options, headers, cache: "no-store" });
    if (response.status !== 401) return response;
    if (sessionStorage.getItem(TOKEN) === token) await askForToken();
  }
}

async function answered(path, options) {
  const response = await ask(path, options);
  if (response.ok) return response;
  const text = await response.text();
  let found = {};
  try {
    found = JSON.parse(text) ?? {};
  } catch {
    found = { error: text.slice(0, 300) };
  }
  throw new Refused(response.status, found.error || response.statusText || `HTTP ${response.status}`, found.field);
}

async function json(path, options) {
  return (await answered(path, options)).json();
}

function runPath(id, rest = "") {
  return `runs/${encodeURIComponent(id)}${rest}`;
}

// Each event of a text/event-stream as (name, data). Ends with the stream, or when nothing came for a minute.
async function readEvents(response, onEvent, abort) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const alarm = setTimeout(() => abort.abort(), SILENCE_MS);
    const { done, value } = await reader.read().finally(() => clearTimeout(alarm));
    if (done) return;
    const blocks = (rest + value.replaceAll("\r", "")).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) tellEvent(block, onEvent);
  }
}

function tellEvent(block, onEvent) {
  let kind = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) kind = line.slice(6).trim();
    if (line.startsWith("data:")) data.push(line.slice(5).trim());
  }
  if (data.length) onEvent(kind, JSON.parse(data.join("\n")));
}

// Follows the service for as long as the page is open; comes back after an interruption, at most 15 s later.
async function follow(onEvent, onLink) {
  for (let wait_s = 1; ; wait_s = Math.min(wait_s * 2, 15)) {
    const abort = new AbortController();
    try {
      const response = await ask("events", { headers: { Accept: "text/event-stream" }, signal: abort.signal });
      if (response.ok) {
        wait_s = 0.5;
        onLink(true);
        await readEvents(response, onEvent, abort);
      }
    } catch (error) {
      console.info(`events: ${error.message}`);
    }
    onLink(false);
    await new Promise((resolve) => setTimeout(resolve, wait_s * 1000));
  }
}
