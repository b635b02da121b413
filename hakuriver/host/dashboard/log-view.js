// A window on a file that may be far larger than what a page can hold: lines in blocks, of which those that are
// far away are dropped. It knows bytes and lines; where they come from is output.js's business.
import { css, parseLine, plainStyle } from "./ansi.js";

const BLOCK = 100;
const BLOCK_BYTES = 128 << 10;
const BYTES_MAX = 3 << 20;
const LINES_MAX = 20000;
// A line without an end is cut, so that a file of one line can be shown too.
const LINE_MAX = 32 << 10;
const NEWLINE = 10;
const RETURN = 13;

// The lines of some bytes: [{begin, end, next}] in bytes, an unfinished last one apart.
export function splitLines(bytes) {
  const lines = [];
  let begin = 0;
  for (;;) {
    let end = bytes.indexOf(NEWLINE, begin);
    if (end < 0 && bytes.length - begin <= LINE_MAX) break;
    if (end < 0 || end - begin > LINE_MAX) {
      end = cut(bytes, begin);
      lines.push({ begin, end, next: end });
      begin = end;
    } else {
      lines.push({ begin, end, next: end + 1 });
      begin = end + 1;
    }
  }
  return { lines, rest: begin };
}

// Where to cut a line that is too long: where it was overwritten, as by a progress bar, or between two characters.
function cut(bytes, begin) {
  let end = begin + LINE_MAX;
  const overwritten = bytes.lastIndexOf(RETURN, end - 1);
  if (overwritten > begin) return overwritten + 1;
  while (end > begin + LINE_MAX - 4 && (bytes[end] & 0xc0) === 0x80) end -= 1;
  return end;
}

const decoder = new TextDecoder();

export class LogView {
  constructor(root) {
    this.root = root;
    this.clear(0);
  }

  // Begin anew, at an offset.
  clear(offset) {
    this.root.replaceChildren();
    this.blocks = [];
    this.start = offset; // of the first line shown
    this.end = offset; // behind the last byte taken
    this.bytes = 0;
    this.lines = 0;
    this.carry = new Uint8Array(0); // of the line that has not ended
    this.carryAt = offset;
    this.style = plainStyle;
    this.openLine = null;
    this.hit = null;
  }

  get empty() {
    return this.lines === 0 && this.openLine === null;
  }

  // What follows what is shown.
  append(bytes) {
    if (!bytes.length) return;
    const whole = new Uint8Array(this.carry.length + bytes.length);
    whole.set(this.carry);
    whole.set(bytes, this.carry.length);
    const base = this.carryAt;
    this.end += bytes.length;
    this.openLine?.remove();
    this.openLine = null;
    const { lines, rest } = splitLines(whole);
    for (const { begin, end, next } of lines) this.#add(whole.subarray(begin, end), base + begin, next - begin);
    this.carry = whole.slice(rest);
    this.carryAt = base + rest;
    if (this.carry.length) {
      this.openLine = this.#line(this.carry, this.carryAt, this.style).element;
      this.root.append(this.openLine);
    }
    while (this.blocks.length > 2 && (this.bytes > BYTES_MAX || this.lines > LINES_MAX)) this.#dropFirst();
  }

  // What comes before what is shown: whole lines, from an offset up to `start`.
  prepend(bytes, offset) {
    const { lines, rest } = splitLines(bytes);
    const block = this.#block();
    let style = plainStyle;
    const all = rest < bytes.length ? [...lines, { begin: rest, end: bytes.length }] : lines;
    for (const { begin, end } of all) {
      const made = this.#line(bytes.subarray(begin, end), offset + begin, style);
      style = made.style;
      block.element.append(made.element);
    }
    Object.assign(block, { begin: offset, end: this.start, lines: all.length, bytes: bytes.length });
    this.root.prepend(block.element);
    this.blocks.unshift(block);
    this.start = offset;
    this.bytes += block.bytes;
    this.lines += block.lines;
    while (this.blocks.length > 2 && (this.bytes > BYTES_MAX || this.lines > LINES_MAX)) this.#dropLast();
  }

  // Mark the line that begins at an offset; false if it is not here.
  mark(offset) {
    this.hit?.classList.remove("is-hit");
    this.hit = this.root.querySelector(`[data-at="${offset}"]`);
    this.hit?.classList.add("is-hit");
    this.hit?.scrollIntoView({ block: "center" });
    return this.hit !== null;
  }

  #block() {
    const element = document.createElement("div");
    element.className = "log-block";
    return { element, begin: this.end, end: this.end, lines: 0, bytes: 0 };
  }

  #add(bytes, offset, size) {
    let block = this.blocks.at(-1);
    if (!block || block.lines >= BLOCK || block.bytes >= BLOCK_BYTES) {
      block = this.#block();
      block.begin = offset;
      this.blocks.push(block);
      this.root.append(block.element);
    }
    const made = this.#line(bytes, offset, this.style);
    this.style = made.style;
    block.element.append(made.element);
    block.lines += 1;
    block.bytes += size;
    block.end = offset + size;
    this.lines += 1;
    this.bytes += size;
  }

  #line(bytes, offset, before) {
    const element = document.createElement("div");
    element.className = "log-line";
    element.dataset.at = offset;
    const { pieces, style } = parseLine(decoder.decode(bytes), before);
    for (const piece of pieces) {
      const rules = css(piece.style);
      if (rules) {
        const span = document.createElement("span");
        span.style.cssText = rules;
        span.textContent = piece.text;
        element.append(span);
      } else {
        element.append(piece.text);
      }
    }
    return { element, style };
  }

  #dropFirst() {
    const block = this.blocks.shift();
    block.element.remove();
    this.bytes -= block.bytes;
    this.lines -= block.lines;
    this.start = this.blocks[0].begin;
  }

  #dropLast() {
    const block = this.blocks.pop();
    block.element.remove();
    this.openLine?.remove();
    this.openLine = null;
    this.carry = new Uint8Array(0);
    this.bytes -= block.bytes;
    this.lines -= block.lines;
    this.end = this.blocks.at(-1).end;
    this.carryAt = this.end;
    this.style = plainStyle;
  }
}
