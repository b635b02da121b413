// Text with ANSI escape sequences, as pieces of one look each. Pure. Facts: ECMA-48, SGR; xterm's 256 colours.
const SEQUENCE =
  /\x1b(?:\[([0-?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[@-Z\\-_]|[ -/]+[0-~])/g;
const OTHER_CONTROLS = /[\x00-\x08\x0b-\x1f\x7f]/g;

export const plainStyle = Object.freeze({
  fg: null,
  bg: null,
  bold: false,
  dim: false,
  italic: false,
  underline: false,
  inverse: false,
});

// The pieces of one line and the style that the next one begins with: [{text, style}].
export function parseLine(line, style = plainStyle) {
  const pieces = [];
  let at = 0;
  // What a carriage return overwrites was seen for a moment; what is left is what it came to.
  const text = overwritten(line);
  const add = (end) => {
    const words = text.slice(at, end).replace(OTHER_CONTROLS, "");
    if (words) pieces.push({ text: words, style });
  };
  for (const found of text.matchAll(SEQUENCE)) {
    add(found.index);
    at = found.index + found[0].length;
    if (found[2] === "m") style = restyled(style, found[1]);
  }
  add(text.length);
  return { pieces, style };
}

function overwritten(line) {
  const text = line.endsWith("\r") ? line.slice(0, -1) : line;
  const last = text.lastIndexOf("\r");
  return last < 0 ? text : text.slice(last + 1);
}

export function restyled(style, parameters) {
  const numbers = (parameters || "0").split(/[;:]/).map((word) => Number(word) || 0);
  let next = style;
  const set = (change) => {
    next = { ...next, ...change };
  };
  for (let at = 0; at < numbers.length; at += 1) {
    const number = numbers[at];
    if (number === 0) next = plainStyle;
    else if (number === 1) set({ bold: true });
    else if (number === 2) set({ dim: true });
    else if (number === 3) set({ italic: true });
    else if (number === 4) set({ underline: true });
    else if (number === 7) set({ inverse: true });
    else if (number === 22) set({ bold: false, dim: false });
    else if (number === 23) set({ italic: false });
    else if (number === 24) set({ underline: false });
    else if (number === 27) set({ inverse: false });
    else if (number >= 30 && number <= 37) set({ fg: number - 30 });
    else if (number >= 40 && number <= 47) set({ bg: number - 40 });
    else if (number >= 90 && number <= 97) set({ fg: number - 82 });
    else if (number >= 100 && number <= 107) set({ bg: number - 92 });
    else if (number === 39) set({ fg: null });
    else if (number === 49) set({ bg: null });
    else if (number === 38 || number === 48) {
      const field = number === 38 ? "fg" : "bg";
      if (numbers[at + 1] === 5) {
        set({ [field]: palette(numbers[at + 2] ?? 0) });
        at += 2;
      } else if (numbers[at + 1] === 2) {
        set({
          [field]: `rgb(${numbers
            .slice(at + 2, at + 5)
            .map((value) => Math.min(value, 255))
            .join(",")})`,
        });
        at += 4;
      }
    }
  }
  return next;
}

// The first 16 are the page's own, so that they can be read on its background; the rest are fixed.
function palette(number) {
  if (number < 16) return number;
  if (number >= 232) {
    const grey = 8 + 10 * (Math.min(number, 255) - 232);
    return `rgb(${grey},${grey},${grey})`;
  }
  const cube = (value) => (value ? 55 + 40 * value : 0);
  const index = number - 16;
  return `rgb(${cube(Math.floor(index / 36))},${cube(Math.floor(index / 6) % 6)},${cube(index % 6)})`;
}

const colour = (value) => (typeof value === "number" ? `var(--ansi-${value})` : value);

// The CSS of a style, "" for plain text.
export function css(style) {
  if (style === plainStyle) return "";
  const rules = [];
  let [fg, bg] = [style.fg, style.bg];
  if (style.inverse) [fg, bg] = [bg ?? "var(--panel)", fg ?? "var(--text)"];
  // The page's own sixteen can be read on its background, and so its background on them: no other pair is sure to be.
  if (typeof bg === "number") fg = "var(--sunk)";
  if (fg !== null) rules.push(`color:${colour(fg)}`);
  if (bg !== null) rules.push(`background-color:${colour(bg)}`);
  if (style.bold) rules.push("font-weight:700");
  if (style.dim) rules.push("opacity:.7");
  if (style.italic) rules.push("font-style:italic");
  if (style.underline) rules.push("text-decoration:underline");
  return rules.join(";");
}
