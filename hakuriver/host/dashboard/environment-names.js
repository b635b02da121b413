// The names of environments for a page's choices, asked for again whenever they may have changed.
import { onBeforeUnmount, shallowRef, watch } from "./vendor/vue.js";
import { get } from "./api.js";
import { listen, live } from "./live.js";

export function useEnvironmentNames() {
  const names = shallowRef([]);
  const load = async () => {
    try {
      names.value = (await get("/environments")).environments.map((each) => each.name);
    } catch {
      /* The head of the page says that the host is away. What was known stays. */
    }
  };
  load();
  watch(() => live.environments, load);
  onBeforeUnmount(listen("back", load));
  return names;
}
