// What pages say about a node.
import { post } from "./api.js";
import { span } from "./dom.js";
import { live } from "./live.js";
import { ask, attempt } from "./parts.js";

export const isDrained = (node) => node.drained !== null && node.drained !== undefined && node.drained !== false;

export function nodeState(node) {
  const parts = [
    span(
      { class: ["badge", node.status === "online" ? "is-online" : "is-offline"] },
      node.status === "online" ? "up" : "down",
    ),
  ];
  if (isDrained(node)) {
    const reason = typeof node.drained === "string" ? node.drained : "";
    parts.push(" ", span({ class: "badge is-drained", title: reason || undefined }, "drained"));
  }
  return span({ class: "states" }, parts);
}

// Heard says when the row came, and the row how old the last heartbeat was then. A node that is up was heard since.
export function heartbeatAge(node) {
  if (node.heartbeat_age === null || node.heartbeat_age === undefined) return null;
  if (node.status === "online") return Math.min(node.heartbeat_age, 2);
  return node.heartbeat_age + Math.max(live.now - node.heard, 0) / 1000;
}

export async function setDrain(node) {
  const name = node.hostname;
  if (isDrained(node)) return attempt(() => post(`/nodes/${encodeURIComponent(name)}/undrain`));
  const sure = await ask({
    title: `Drain ${name}?`,
    text: "What runs there ends in its own time, and nothing new starts until it is undrained.",
    yes: "Drain",
    danger: false,
  });
  return sure && attempt(() => post(`/nodes/${encodeURIComponent(name)}/drain`));
}
