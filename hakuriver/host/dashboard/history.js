// The points of a chart: what the host remembers, then what it tells; never more than a chart can show.
import { computed, onBeforeUnmount, ref, shallowRef, watch } from "./vendor/vue.js";
import { get, query } from "./api.js";
import { listen } from "./live.js";

const FIELDS = [
  "t",
  "cores_total",
  "cores_reserved",
  "cpu_percent",
  "memory_total",
  "memory_reserved",
  "memory_used",
  "running",
];

// node: a function that gives a node's name, or "" for the cluster. hours: a ref.
export function useHistory(node, hours) {
  const columns = shallowRef(null);
  const failure = ref(null);
  let asked = 0;

  const load = async () => {
    const mine = ++asked;
    try {
      const told = await get(`/history${query({ node: node(), hours: hours.value })}`);
      if (mine !== asked) return;
      columns.value = told;
      failure.value = null;
    } catch (error) {
      if (mine === asked) failure.value = error;
    }
  };

  const append = (sample) => {
    const known = columns.value;
    const point = node() ? sample.nodes[node()] : sample.cluster;
    const last = known?.t.at(-1) ?? 0;
    if (!known || !point || sample.t - last < known.step * 0.9) return;
    const kept = (hours.value * 3600) / known.step;
    const next = { step: known.step };
    for (const field of FIELDS) {
      const value = field === "t" ? sample.t : (point[field] ?? null);
      next[field] = [...known[field].slice(-Math.ceil(kept)), value];
    }
    columns.value = next;
  };

  const stops = [listen("sample", append), listen("back", load)];
  onBeforeUnmount(() => stops.forEach((stop) => stop()));
  watch([node, hours], load, { immediate: true });

  const list = (field) => columns.value?.[field] ?? [];
  const used = computed(() =>
    list("cpu_percent").map((value, at) => (value === null ? null : (value * (list("cores_total")[at] ?? 0)) / 100)),
  );
  return {
    failure,
    known: computed(() => columns.value !== null),
    cores: computed(() => [list("t"), used.value, list("cores_reserved"), list("cores_total")]),
    memory: computed(() => [list("t"), list("memory_used"), list("memory_reserved"), list("memory_total")]),
    maxCores: computed(() =>
      Math.max(
        1,
        ...list("cores_total")
          .slice(-50)
          .map((value) => value ?? 0),
      ),
    ),
    maxMemory: computed(() =>
      Math.max(
        1,
        ...list("memory_total")
          .slice(-50)
          .map((value) => value ?? 0),
      ),
    ),
  };
}
