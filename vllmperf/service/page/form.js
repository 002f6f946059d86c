// The form that starts a run, made from the schema that the service checks requests with.

const KINDS = [
  ["bench", "Benchmark"], ["start-load", "start-load payload"], ["stress", "Stress"], ["sweep", "Sweep"], ["fit", "Fit"], ["capacity", "Capacity"],
];
const UP_FRONT = ["base_url", "host", "port", "model", "request_rate", "max_concurrency", "num_prompts", "duration", "dataset_name", "dataset_path", "input_len", "output_len", "profile"];
const PLACES = ["plan", "target", "workload", "load", "limits"];

// What a kind takes, by name; null where the schema has no fields of it. profile: of start-load, whose flags differ by release.
function fieldsOf(schema, kind, profile) {
  if (kind !== "start-load") return schema[kind === "bench" ? "plan" : kind]?.properties ?? null;
  const profiles = Object.keys(schema.start_load);
  const first = schema.start_load_profile;
  const fields = { ...schema.start_load[profiles.includes(profile) ? profile : first].properties };
  return { ...fields, profile: { ...fields.profile, type: "string", enum: profiles, default: first } };
}

function typesOf(field) {
  const given = field.type ?? (field.anyOf ?? []).map((one) => one.type);
  return [given].flat().filter((one) => one && one !== "null");
}

function choicesOf(field) {
  return field.enum ?? field.anyOf?.find((one) => one.enum)?.enum ?? null;
}

function exampleOf(schema, kind) {
  return Object.values(schema.examples?.runs ?? {}).find((one) => one.kind === kind)?.[kind];
}

// What somebody typed as JSON has it; undefined where nothing was. What cannot be read goes as it is: the service names it.
function typed(text, field) {
  const types = typesOf(field);
  if (text.trim() === "") return undefined;
  if (types.some((type) => ["number", "integer"].includes(type)) && Number.isFinite(Number(text))) return Number(text);
  if (types.includes("boolean") && ["true", "false"].includes(text)) return text === "true";
  if (types.some((type) => ["object", "array"].includes(type))) {
    try {
      return JSON.parse(text);
    } catch {
      return types.includes("array") && !text.trim().startsWith("[") ? text.split(",").map((one) => one.trim()) : text;
    }
  }
  return text;
}

function asText(value) {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

class Field {
  constructor(key, field, onInput) {
    Object.assign(this, { key, field });
    const id = `field-${key}`;
    const isNone = [undefined, "null", "[]", "{}"].includes(JSON.stringify(field.default));
    const usual = isNone ? "" : asText(field.default);
    this.input = this.control(id, usual, onInput);
    this.wrong = h("div", { class: "wrong", id: `${id}-wrong` });
    const help = field.help ?? field.description ?? "";
    this.input.setAttribute("aria-describedby", `${id}-wrong ${id}-help`);
    const unit = usual && this.input.tagName !== "SELECT" ? h("span.dim", `default ${usual}`) : null;
    this.node = h("div.field", h("div.row", h("label", { for: id }, key), unit), this.input, this.wrong, h("div", { class: "dim help", id: `${id}-help` }, help));
  }

  control(id, usual, onInput) {
    const types = typesOf(this.field);
    const choices = choicesOf(this.field) ?? (types.includes("boolean") ? [true, false] : null);
    if (choices) {
      const options = choices.filter((one) => one !== null).map((one) => h("option", { value: String(one) }, String(one)));
      return h("select", { id, name: this.key, onchange: onInput }, h("option", { value: "" }, usual ? `default (${usual})` : ""), options);
    }
    if (types.includes("object")) return h("textarea", { id, name: this.key, rows: "2", spellcheck: "false", placeholder: "{…}", oninput: onInput });
    const isNumber = types.length > 0 && types.every((type) => ["number", "integer"].includes(type));
    return h("input", { id, name: this.key, type: this.field.writeOnly ? "password" : "text", inputmode: isNumber ? "decimal" : null, autocomplete: "off", spellcheck: "false", placeholder: usual, oninput: onInput });
  }

  get value() {
    return typed(this.input.value, this.field);
  }

  set value(value) {
    this.input.value = value === null || value === undefined ? "" : asText(value);
  }

  tell(message) {
    say(this.wrong, message);
    if (message) this.input.setAttribute("aria-invalid", "true");
    else this.input.removeAttribute("aria-invalid");
  }
}

class FormPage {
  constructor(query) {
    this.from = query.get("from");
    this.key = null;
    this.kind = "bench";
    this.body = h("div");
    this.wrong = h("p", { class: "wrong", role: "alert" });
    this.label = h("input", { id: "label", type: "text", autocomplete: "off", maxlength: "200", oninput: () => this.changed() });
    this.waits = h("span.dim");
    this.send = h("button.main", "Start");
    this.preview = h("pre", { tabindex: "0" });
    this.kinds = h("div", { class: "kinds", role: "radiogroup", "aria-label": "Kind of run" });
    this.form = h("form", { novalidate: true, onsubmit: (event) => this.submit(event) }, this.kinds,
      h("div.field.label", h("label", { for: "label" }, "Name of the run"), this.label, h("div.dim.help", "Stands in the list of runs. Optional.")),
      this.body, this.wrong,
      h("div.buttons", this.send, this.waits),
      h("details", { ontoggle: () => this.show() }, h("summary", "What will be sent"), this.preview));
    this.node = h("div.page", h("section.card", h("h1", "New run"), this.form));
    this.form.hidden = true;
    this.start();
  }

  async start() {
    try {
      this.schema = await json("schema");
      if (this.from) this.filled = await json(runPath(this.from));
    } catch (error) {
      this.node.append(h("p.card.wrong", error.message));
      return;
    }
    this.form.hidden = false;
    this.kind = this.filled?.kind ?? this.kind;
    for (const [kind, words] of KINDS.filter(([one]) => fieldsOf(this.schema, one) || exampleOf(this.schema, one))) {
      const box = h("input", { type: "radio", name: "kind", value: kind, checked: kind === this.kind, onchange: () => this.choose(kind) });
      this.kinds.append(h("label", box, h("span", words)));
    }
    this.choose(this.kind);
    if (this.filled) this.refill(this.filled);
    this.changed();
  }

  choose(kind, profile) {
    this.kind = kind;
    this.fields = new Map();
    const known = fieldsOf(this.schema, kind, profile);
    this.text = known ? null : h("textarea", { id: "as-json", rows: "12", spellcheck: "false", oninput: () => this.changed() });
    if (!known) {
      this.text.value = JSON.stringify(exampleOf(this.schema, kind) ?? {}, null, 2);
      this.body.replaceChildren(h("div.field.label", h("label", { for: "as-json" }, `${kind} as JSON`), this.text, h("div.dim.help", "An example: change it. vllmperf checks all of it before it starts.")));
      return this.changed();
    }
    for (const [key, field] of Object.entries(known)) this.fields.set(key, new Field(key, field, () => this.changed()));
    const profiles = kind === "start-load" ? this.fields.get("profile") : null;
    if (profiles) {
      profiles.value = profile;
      profiles.input.addEventListener("change", () => this.rechoose(profiles.input.value));
    }
    const first = UP_FRONT.filter((key) => this.fields.has(key));
    const groups = new Map();
    for (const [key, field] of Object.entries(known)) {
      if (first.includes(key)) continue;
      const group = field.title ?? "other settings";
      groups.set(group, [...(groups.get(group) ?? []), key]);
    }
    const grid = (keys) => h("div.fields", keys.map((key) => this.fields.get(key).node));
    this.body.replaceChildren(grid(first), ...[...groups].map(([group, keys]) => h("details.group", h("summary", group, h("span.dim", ` ${plural(keys.length, "setting")}`)), grid(keys))));
    return this.changed();
  }

  // The flags of another release of vLLM's client, with what was typed.
  rechoose(profile) {
    const before = new Map([...this.fields].map(([key, field]) => [key, field.input.value]));
    this.choose(this.kind, profile);
    for (const [key, field] of this.fields) field.input.value = before.get(key) ?? "";
    this.fields.get("profile").input.focus();
  }

  refill(run) {
    this.label.value = run.label ?? "";
    if (this.text) this.text.value = JSON.stringify(run.request?.[run.kind] ?? run.request, null, 2);
    const given = settingsOf(run.request);
    if (given.profile) this.choose(this.kind, given.profile);
    for (const [key, field] of this.fields) {
      const value = given[key];
      if (JSON.stringify(value) !== JSON.stringify(field.field.default) && !field.field.writeOnly) field.value = value;
    }
  }

  // Address and body of the request. Throws where a JSON text is none.
  request() {
    const given = {};
    for (const [key, field] of this.fields) if (field.value !== undefined) given[key] = field.value;
    const content = this.text ? JSON.parse(this.text.value || "{}") : given;
    const label = this.label.value.trim();
    if (this.kind === "start-load") return ["start-load", label ? { ...content, label } : content];
    return ["runs", { kind: this.kind, [this.kind === "bench" ? "plan" : this.kind]: content, ...(label ? { label } : {}) }];
  }

  // Another request is another run: the key that makes a second click harmless is renewed.
  changed() {
    this.key = [...crypto.getRandomValues(new Uint8Array(16))].map((one) => one.toString(16).padStart(2, "0")).join("");
    this.show();
  }

  show() {
    if (!this.preview.parentElement.open) return;
    try {
      const [path, body] = this.request();
      for (const [key, field] of this.fields) if (field.field.writeOnly && field.value) (body.plan ?? body)[key] = "…";
      say(this.preview, `POST /${path}\n${JSON.stringify(body, null, 2)}`);
    } catch (error) {
      say(this.preview, error.message);
    }
  }

  async submit(event) {
    event.preventDefault();
    for (const field of this.fields.values()) field.tell("");
    say(this.wrong, "");
    this.send.disabled = true;
    try {
      const [path, body] = this.request();
      const headers = { "Content-Type": "application/json", "Idempotency-Key": this.key };
      const found = await json(path, { method: "POST", headers, body: JSON.stringify(body) });
      await load();
      location.hash = `#/run/${encodeURIComponent(found.id)}`;
    } catch (error) {
      this.refused(error);
    }
    this.send.disabled = false;
  }

  refused(error) {
    const key = String(error.field ?? "").split(".").filter((part) => !PLACES.includes(part))[0];
    const field = this.fields.get(key);
    if (!field) {
      say(this.wrong, error instanceof SyntaxError ? `This is no JSON: ${error.message}` : error.message);
      return;
    }
    field.tell(error.message);
    const group = field.node.closest("details");
    if (group) group.open = true;
    field.input.focus();
    field.node.scrollIntoView({ block: "center" });
  }

  update() {
    const taken = state.queue.length + listed().filter(isActive).length;
    say(this.waits, taken ? `starts after the ${plural(taken, "run")} before it` : "");
    return "New run – vllmperf";
  }
}
