// Numbers, times and words for people. Pure.
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

// Binary units, as everywhere in HakuRiver: 4 GiB is "4 GiB".
export function bytes(count) {
  if (count === null || count === undefined) return "–";
  let unit = 0;
  let value = count;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 || Number.isInteger(value) ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

export const number = (value, digits = 1) =>
  value === null || value === undefined ? "–" : value.toLocaleString("en", { maximumFractionDigits: digits });

export const percent = (value) => (value === null || value === undefined ? "–" : `${Math.round(value)} %`);

export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  const whole = Math.max(Math.floor(seconds), 0);
  if (whole < 60) return seconds >= 0.05 && seconds < 10 && seconds % 1 ? `${seconds.toFixed(1)} s` : `${whole} s`;
  const [days, hours, minutes] = [
    Math.floor(whole / 86400),
    Math.floor(whole / 3600) % 24,
    Math.floor(whole / 60) % 60,
  ];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return `${minutes} min ${whole % 60} s`;
}

export function ago(seconds) {
  if (seconds === null || seconds === undefined) return "never";
  return seconds < 2 ? "now" : `${duration(Math.floor(seconds))} ago`;
}

const TODAY = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hour12: false,
});
const OTHER = new Intl.DateTimeFormat(undefined, {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
  hour12: false,
});
const WHOLE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hour12: false });

// An ISO time: of today the clock, else the day too.
export function time(iso, now = new Date()) {
  if (!iso) return "–";
  const then = new Date(iso);
  return (then.toDateString() === now.toDateString() ? TODAY : OTHER).format(then);
}

export const wholeTime = (iso) => (iso ? WHOLE.format(new Date(iso)) : "–");

export const seconds = (iso) => (iso ? new Date(iso).getTime() / 1000 : null);

// How long a task has run, or did.
export function runTime(task, now) {
  const begin = seconds(task.started_at);
  if (begin === null) return null;
  const end = seconds(task.completed_at);
  return Math.max((end ?? now / 1000) - begin, 0);
}

// A word as a POSIX shell would read it back: what is copied from here can be typed.
export function quoted(word) {
  if (word !== "" && /^[A-Za-z0-9_@%+=:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", "'\\''")}'`;
}

export const commandLine = (task) => [task.command, ...task.arguments].map(quoted).join(" ");

// Control characters by their pictures, so that one sees them and they do nothing.
export const visible = (text) =>
  text
    .replace(/[\x00-\x1f]/g, (found) => String.fromCharCode(0x2400 + found.charCodeAt(0)))
    .replaceAll("\x7f", "\u2421");

export const shownCommand = (task) => visible(commandLine(task));

// Statuses in the order of a task's life, and what a person calls them.
export const STATUSES = [
  "pending",
  "assigning",
  "running",
  "paused",
  "lost",
  "completed",
  "failed",
  "killed_oom",
  "killed",
];
export const FINAL = new Set(["completed", "failed", "killed", "killed_oom"]);
const WORDS = {
  pending: "waiting",
  assigning: "starting",
  killed_oom: "out of memory",
  lost: "node silent",
};
export const statusWord = (status) => WORDS[status] ?? status;

export const plural = (count, one, many = `${one}s`) => `${number(count, 0)} ${count === 1 ? one : many}`;

// "4G", "512M", "1.5 GiB", "" -> bytes, null for nothing, NaN for what is no size. Binary, as the client's.
export function parseSize(text) {
  const trimmed = text.trim();
  if (!trimmed) return null;
  const found = /^([0-9]+(?:\.[0-9]+)?)\s*([kmgtp]?)(?:i?b)?$/i.exec(trimmed);
  if (!found) return Number.NaN;
  return Math.round(Number(found[1]) * 1024 ** " kmgtp".indexOf(found[2].toLowerCase() || " "));
}
