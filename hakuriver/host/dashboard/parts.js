// What all pages are made of: badges, meters, dialogs, messages at the edge.
import { nextTick, onBeforeUnmount, onMounted, reactive, ref } from "./vendor/vue.js";
import { a, button, dialog, div, form, h2, header, p, small, span, use } from "./dom.js";
import { statusWord } from "./format.js";

export const badge = (status) => span({ class: ["badge", `is-${status}`] }, statusWord(status));

// A bar of parts of a whole: [{value, kind, label}]. What it shows is said in words beside it or in `title`.
export function meter(parts, total, title) {
  const share = (value) => (total > 0 ? Math.min(Math.max((100 * value) / total, 0), 100) : 0);
  return div(
    { class: "meter", role: "img", "aria-label": title, title },
    parts.map((part) => span({ class: ["fill", `is-${part.kind}`], style: { width: `${share(part.value)}%` } })),
  );
}

export const empty = (text, ...more) => div({ class: "empty" }, p(text), ...more);

export const failureBox = (failure, again) =>
  failure &&
  div(
    { class: "notice is-bad", role: "alert" },
    p(failure.message),
    failure.hint ? small(failure.hint) : null,
    again ? button({ type: "button", class: "plain", onClick: again }, "Try again") : null,
  );

// Messages at the edge of the page; those of failures stay until they are closed.
const messages = reactive([]);
let lastMessage = 0;

export function say(text, kind = "good", hint = "") {
  const id = ++lastMessage;
  messages.push({ id, text, kind, hint });
  if (messages.length > 4) messages.shift();
  if (kind === "good") setTimeout(() => forget(id), 6000);
}

function forget(id) {
  const place = messages.findIndex((message) => message.id === id);
  if (place >= 0) messages.splice(place, 1);
}

export const Messages = {
  setup: () => () =>
    div(
      { class: "messages", role: "status", "aria-live": "polite" },
      messages.map((message) =>
        div(
          { key: message.id, class: ["message", `is-${message.kind}`] },
          div(p(message.text), message.hint ? small(message.hint) : null),
          button(
            { type: "button", class: "icon", "aria-label": "Close this message", onClick: () => forget(message.id) },
            "×",
          ),
        ),
      ),
    ),
};

// Do something that may fail; its failure is a message. True if it worked.
export async function attempt(work, done = "") {
  try {
    const answer = await work();
    const text = done || answer?.message || "";
    if (text) say(text);
    return true;
  } catch (error) {
    say(error.message, "bad", error.hint ?? "");
    return false;
  }
}

// A dialog above the page. Escape closes it, the focus stays inside and comes back to where it was.
export const Dialog = {
  props: { title: String, wide: Boolean },
  emits: ["close"],
  setup(props, { slots, emit }) {
    const root = ref(null);
    onMounted(() => root.value.showModal());
    // The browser gives the focus back when a dialog is closed, not when it is taken away.
    onBeforeUnmount(() => root.value.close());
    return () =>
      dialog(
        {
          ref: root,
          class: { wide: props.wide },
          "aria-label": props.title,
          onClose: () => emit("close"),
          onClick: (event) => event.target === root.value && root.value.close(),
        },
        header(
          h2(props.title),
          button({ type: "button", class: "icon", "aria-label": "Close", onClick: () => root.value.close() }, "×"),
        ),
        div({ class: "inside" }, slots.default?.()),
      );
  },
};

// A question before something that cannot be taken back. ask({…}) is true once it was confirmed.
const question = ref(null);

export function ask({ title, text, yes, danger = true }) {
  return new Promise((resolve) => {
    question.value = { title, text, yes, danger, resolve };
  });
}

export const Question = {
  setup() {
    const confirm = ref(null);
    const answer = (value) => {
      question.value?.resolve(value);
      question.value = null;
    };
    return () => {
      const asked = question.value;
      if (!asked) return null;
      nextTick(() => confirm.value?.focus());
      return use(Dialog, { title: asked.title, onClose: () => answer(false) }, () => [
        p(asked.text),
        form(
          {
            class: "buttons",
            onSubmit: (event) => {
              event.preventDefault();
              answer(true);
            },
          },
          button({ type: "button", onClick: () => answer(false) }, "Cancel"),
          button({ ref: confirm, type: "submit", class: asked.danger ? "danger" : "main" }, asked.yes),
        ),
      ]);
    };
  },
};

// A button that waits for what it started, and cannot be pressed twice meanwhile.
export const ActButton = {
  props: { act: Function, label: String, kind: String, disabled: Boolean, title: String },
  setup(props) {
    const busy = ref(false);
    const press = async () => {
      if (busy.value) return;
      busy.value = true;
      try {
        await props.act();
      } finally {
        busy.value = false;
      }
    };
    return () =>
      button(
        {
          type: "button",
          class: props.kind,
          disabled: props.disabled,
          title: props.title,
          // Not disabled while it works: it would lose the focus.
          "aria-busy": busy.value || undefined,
          onClick: press,
        },
        props.label,
      );
  },
};

export const act = (label, work, { kind = "", disabled = false, title } = {}) =>
  use(ActButton, { label, act: work, kind, disabled, title });

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Over plain HTTP browsers give pages no clipboard: the old way does it there.
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "offscreen";
    // A dialog makes the rest of the page inert, where nothing can be selected.
    const place = document.querySelector("dialog[open]") ?? document.body;
    place.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  say("Copied.");
}

export const copyButton = (text, what) =>
  button({ type: "button", class: "small", "aria-label": `Copy ${what}`, onClick: () => copy(text) }, "Copy");

export const link = (path, ...rest) => {
  const attributes = { href: `#${path}` };
  return a(attributes, ...rest);
};

// A card with a heading, and on its right what belongs to it; with attributes, if they come first.
export const card = (title, right, ...children) => cardWith({}, title, right, ...children);

export const cardWith = (attributes, title, right, ...children) =>
  div({ ...attributes, class: "card" }, div({ class: "card-head" }, h2(title), right ?? null), ...children);

// A table that may be wider than its place: it scrolls there, by keyboard too.
export const scroll = (label, ...children) =>
  div({ class: "scroll", tabindex: 0, role: "region", "aria-label": label }, ...children);

export const fact = (value, name, more) =>
  div(
    { class: "fact" },
    span({ class: "fact-value" }, value),
    span({ class: "fact-name" }, name),
    more ? small(more) : null,
  );
