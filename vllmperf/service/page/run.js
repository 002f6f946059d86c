// The page of one run: its state and charts, its verdict, its report, its files, and what was asked for.

const UPLOADS = { done: "uploaded", failed: "failed", pending: "waits", uploading: "uploading" };

class RunPage {
  constructor(id) {
    this.id = id;
    this.holder = h("div");
    this.reasons = h("section", { class: "card", hidden: true });
    this.report = h("section", { class: "card report", "aria-label": "Report", hidden: true });
    this.files = h("section", { class: "card", hidden: true });
    this.request = h("details", { class: "card", hidden: true });
    this.problem = h("p", { class: "card wrong", hidden: true });
    this.node = h("div.page", this.problem, this.holder, this.reasons, h("div.below", this.report, h("div", this.files, this.request)));
  }

  update() {
    const known = detail(this.id);
    const run = state.runs.get(this.id);
    const problem = known?.error ?? (state.isLoaded && known?.isLoaded && !run ? `no run ${this.id}` : "");
    this.problem.hidden = !problem;
    say(this.problem, problem);
    if (!run) return "vllmperf";
    keyed(this.holder, [run], (one) => new Card(one, "h1"));
    this.tellReasons(run);
    if (known?.isLoaded && this.version !== `${run.phase} ${known.files?.length} ${JSON.stringify(known.uploads)}`) {
      this.version = `${run.phase} ${known.files?.length} ${JSON.stringify(known.uploads)}`;
      this.tellFiles(known);
      this.tellRequest(known);
      this.tellReport(known);
    }
    return isActive(run) ? pageTitle([run]) : `${title(run)} – vllmperf`;
  }

  tellReasons(run) {
    const reasons = isOver(run) ? (run.verdict?.reasons ?? []) : [];
    this.reasons.hidden = reasons.length < 2 || !this.report.hidden; // the report has them too
    if (reasons.length < 2 || this.reasons.childElementCount) return;
    const items = reasons.map((reason) => h("li", reason));
    this.reasons.replaceChildren(h("h2", "Why this verdict"), h("ul", items));
  }

  tellFiles(known) {
    const rows = (known.files ?? []).map((file) => {
      const link = h("a", { href: file.url ? relative(file.url) : "#", download: true, onclick: (event) => fetched(event, file) }, name(file.name));
      return h("li", link, h("span.dim", Number.isFinite(file.bytes) ? bytes(file.bytes) : ""));
    });
    const uploads = (known.uploads ?? []).map((one) => h("li", name(one.name), h("span", { class: one.state === "failed" ? "wrong" : "dim" }, `${UPLOADS[one.state] ?? one.state} · ${one.to}`)));
    this.files.hidden = !rows.length && !uploads.length;
    this.files.replaceChildren(h("h2", "Files"), h("ul.files", rows), ...(uploads.length ? [h("h3", "In the bucket"), h("ul.files", uploads)] : []));
  }

  tellRequest(known) {
    this.request.hidden = !known.request;
    this.request.replaceChildren(h("summary", "What was asked for"), h("pre", { tabindex: "0" }, JSON.stringify(known.request, null, 2)));
  }

  async tellReport(known) {
    const file = (known.files ?? []).find((one) => one.name === "report.html");
    if (!file || this.reportOf === file.bytes) return;
    this.reportOf = file.bytes;
    try {
      const text = await (await answered(relative(file.url ?? runPath(this.id, "/report.html")))).text();
      this.report.replaceChildren(h("h2", "Report"), copied(text));
      this.report.hidden = false;
    } catch (error) {
      this.report.replaceChildren(h("p.wrong", `The report cannot be shown: ${error.message}`));
      this.report.hidden = false;
    }
  }
}

// A path of the service as this page reaches it, whatever stands before it; nothing of another origin.
function relative(url) {
  return String(url).startsWith("/") ? `.${url}` : url;
}

// A link cannot carry a token: fetch the file and hand it over.
async function fetched(event, file) {
  if (!sessionStorage.getItem(TOKEN)) return;
  event.preventDefault();
  try {
    const url = URL.createObjectURL(await (await answered(relative(file.url))).blob());
    h("a", { href: url, download: file.name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  } catch (error) {
    tellProblem(error.message);
  }
}

const TAGS = new Set("div p span b em i code pre ul ol li dl dt dd h1 h2 h3 h4 table thead tbody tr th td details summary svg g path polyline line rect circle text title".split(" "));
const ATTRIBUTES = new Set("class colspan rowspan viewBox width height x y x1 x2 y1 y2 cx cy r rx d points fill stroke stroke-width stroke-linecap stroke-dasharray opacity text-anchor font-weight role aria-label transform".split(" "));

// The report as our own elements: only what is listed above is copied, so it carries no script, style, address or form.
function copied(html) {
  const policy = globalThis.trustedTypes?.createPolicy ? (copied.policy ??= trustedTypes.createPolicy("report", { createHTML: (text) => text })) : null;
  const bare = html.replace(/<style[^]*?<\/style>| style="[^"]*"/gi, ""); // the policy would refuse them with an error each
  const found = new DOMParser().parseFromString(policy ? policy.createHTML(bare) : bare, "text/html");
  return h("div.vllmperf", [...(found.querySelector(".vllmperf") ?? found.body).childNodes].map(copy));
}

function copy(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.data;
  if (node.nodeType !== Node.ELEMENT_NODE || !TAGS.has(node.localName)) return null;
  const attributes = {};
  for (const { name: key, value } of node.attributes) if (ATTRIBUTES.has(key)) attributes[key] = value;
  const make = node.namespaceURI === SVG ? s : h;
  return make(node.localName, attributes, [...node.childNodes].map(copy));
}
