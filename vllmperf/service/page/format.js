// Numbers and texts as people read them: the rules of vllmperf/numbers.py.

const NOTHING = "–";

function fixed(value, places) {
  return value.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places });
}

// A number that changes as one looks at it, with three digits: 0.123, 12.3, 1,234
function rough(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOTHING;
  const size = Math.abs(value);
  if (size === 0) return "0";
  return fixed(value, size < 1 ? 3 : Math.max(2 - Math.floor(Math.log10(size)), 0));
}

function count(value) {
  return value === null || value === undefined ? NOTHING : fixed(value, 0);
}

function plural(number, one) {
  return `${count(number)} ${one}${number === 1 ? "" : "s"}`;
}

// Something is never shown as nothing, nor a part as all.
function share(part) {
  if (part === null || part === undefined) return NOTHING;
  const percent = 100 * part;
  if (percent > 0 && percent < 0.1) return "< 0.1 %";
  if (percent > 99.9 && percent < 100) return "> 99.9 %";
  return `${fixed(percent, percent === 0 || percent === 100 ? 0 : 1)} %`;
}

// 12.3 s, 2 min 05 s, 1 h 03 min
function duration(seconds) {
  if (seconds === null || seconds === undefined) return NOTHING;
  if (seconds < 60) return `${rough(seconds)} s`;
  const whole = Math.round(seconds);
  if (whole < 7200) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}

// The same for what still lies ahead: no fractions of a second.
function ahead(seconds) {
  return duration(seconds < 60 ? Math.max(Math.round(seconds), 0) : seconds);
}

// 14:05; on another day 30 Nov, 14:05
function clock(moment) {
  const time = moment.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (moment.toDateString() === new Date().toDateString()) return time;
  return `${moment.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time}`;
}

function bytes(size) {
  for (const unit of ["B", "kB", "MB"]) {
    if (size < 1000) return `${rough(size)} ${unit}`;
    size /= 1000;
  }
  return `${rough(size)} GB`;
}

// A text from outside without control characters and those that turn the direction of writing.
function clean(text) {
  return String(text ?? "").replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]+/g, " ");
}
