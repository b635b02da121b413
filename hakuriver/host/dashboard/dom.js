// HTML as function calls: div({class: "card"}, h2("Nodes"), table(...)). The first argument may be attributes;
// null and false among the children stand for nothing, but keep their place: what follows stays what it is.
import { h, isVNode } from "./vendor/vue.js";

const isAttributes = (value) => value !== null && typeof value === "object" && !Array.isArray(value) && !isVNode(value);

export function element(name, args) {
  const [first, ...rest] = args;
  const [attributes, children] = isAttributes(first) ? [first, rest] : [null, args];
  return h(name, attributes, children.flat(Infinity));
}

const tag =
  (name) =>
  (...args) =>
    element(name, args);

// A component of ours: its props, then what goes into it.
export const use = (component, props, slots) => h(component, props, slots);

export const [
  a,
  aside,
  button,
  caption,
  code,
  dd,
  details,
  dialog,
  div,
  dl,
  dt,
  fieldset,
  footer,
  form,
  h1,
  h2,
  header,
  input,
  label,
  legend,
  li,
  main,
  nav,
  ol,
  option,
  p,
  pre,
  progress,
  select,
  small,
  span,
  strong,
  summary,
  table,
  tbody,
  td,
  textarea,
  th,
  thead,
  tr,
  ul,
] = [
  "a",
  "aside",
  "button",
  "caption",
  "code",
  "dd",
  "details",
  "dialog",
  "div",
  "dl",
  "dt",
  "fieldset",
  "footer",
  "form",
  "h1",
  "h2",
  "header",
  "input",
  "label",
  "legend",
  "li",
  "main",
  "nav",
  "ol",
  "option",
  "p",
  "pre",
  "progress",
  "select",
  "small",
  "span",
  "strong",
  "summary",
  "table",
  "tbody",
  "td",
  "textarea",
  "th",
  "thead",
  "tr",
  "ul",
].map(tag);
