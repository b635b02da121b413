// Where one is: #/tasks?status=running. Links are links, and the browser's own buttons work.
import { reactive } from "./vendor/vue.js";

export const route = reactive({ path: [], query: {} });

function read() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const words = path.split("/").filter(Boolean).map(decode);
  if (words.join("/") !== route.path.join("/")) route.path = words;
  route.query = Object.fromEntries(new URLSearchParams(search));
}

function decode(word) {
  try {
    return decodeURIComponent(word);
  } catch {
    return word;
  }
}

export const go = (path) => {
  location.hash = path;
};

// Change the query of this page without a new entry in the history.
export function refine(fields) {
  const next = Object.entries({ ...route.query, ...fields }).filter(([, value]) => value !== "" && value !== null);
  const search = next.length ? `?${new URLSearchParams(next)}` : "";
  history.replaceState(null, "", `#/${route.path.map(encodeURIComponent).join("/")}${search}`);
  read();
}

window.addEventListener("hashchange", read);
read();
