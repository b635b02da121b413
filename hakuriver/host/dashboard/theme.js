// Light or dark: as the system has it, or as was chosen here.
import { reactive } from "./vendor/vue.js";

const KEY = "hakuriver.theme";
const system = matchMedia("(prefers-color-scheme: dark)");

export const theme = reactive({ choice: localStorage.getItem(KEY) ?? "auto", dark: false });

function apply() {
  theme.dark = theme.choice === "auto" ? system.matches : theme.choice === "dark";
  document.documentElement.dataset.theme = theme.choice;
}

export function choose(choice) {
  theme.choice = choice;
  localStorage.setItem(KEY, choice);
  apply();
}

system.addEventListener("change", apply);
apply();
