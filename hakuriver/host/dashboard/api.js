// Requests to the host. What it answers in words is shown in words; what cannot be asked says why.
import { reactive } from "./vendor/vue.js";

export const session = reactive({ known: false, needsToken: false, loggedIn: false, user: storedUser() });

function storedUser() {
  return localStorage.getItem("hakuriver.user") ?? "";
}

export function rememberUser(name) {
  session.user = name.trim();
  localStorage.setItem("hakuriver.user", session.user);
}

export class Failure extends Error {
  constructor(status, detail, hint) {
    super(detail);
    this.status = status;
    this.hint = hint;
  }
}

async function send(method, path, { body, signal, more = {} } = {}) {
  // The first header tells the host that it is this page that asks: other pages cannot set it.
  const headers = { "X-Hakuriver": "dashboard", ...more };
  if (session.user) headers["X-Hakuriver-User"] = encodeURIComponent(session.user);
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      signal,
      cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "The host does not answer.", "It may be restarting; this page tries again by itself.");
  }
  if (response.ok) return response;
  if (response.status === 401 && path !== "/login") session.loggedIn = false;
  let told = {};
  try {
    told = await response.json();
  } catch {
    /* whoever answered, it was not the host: the status is all there is */
  }
  throw new Failure(response.status, sentence(told.detail ?? `The answer was ${response.status}.`), told.hint ?? "");
}

const sentence = (text) => {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
};

export const get = async (path, signal) => (await send("GET", path, { signal })).json();

// The rows and how many there are in all.
export async function getPage(path, signal) {
  const response = await send("GET", path, { signal });
  return { rows: await response.json(), total: Number(response.headers.get("X-Hakuriver-Total") ?? Number.NaN) };
}

export const getRaw = (path, signal) => send("GET", path, { signal });

export async function post(path, body = {}) {
  const response = await send("POST", path, { body });
  return response.status === 204 ? null : response.json();
}

// The same key for each try of one submission: however often it arrives, it is one.
export async function submit(body, key) {
  try {
    return await (await send("POST", "/submit", { body, more: { "Idempotency-Key": key } })).json();
  } catch (error) {
    if (error.status === 0) error.hint = "Submit again: what has arrived is not done twice.";
    throw error;
  }
}

export async function lookAtSession(signal) {
  const told = await get("/session", signal);
  session.needsToken = told.needs_token;
  session.loggedIn = told.logged_in || !told.needs_token;
  session.known = true;
}

// Work that is asked for again and again: one at a time, and once more if it was asked for meanwhile. So no answer
// comes after a newer one, and none is waited for in vain however often it is asked for.
export function inTurn(work) {
  let busy = false;
  let again = false;
  return async () => {
    again = true;
    if (busy) return;
    busy = true;
    try {
      while (again) {
        again = false;
        await work();
      }
    } finally {
      busy = false;
    }
  };
}

export const query = (fields) => {
  const given = Object.entries(fields).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? `?${new URLSearchParams(given)}` : "";
};
