// All nodes, and how to add one.
import { computed, onMounted, ref } from "../vendor/vue.js";
import { get } from "../api.js";
import {
  button,
  caption,
  code,
  div,
  li,
  ol,
  p,
  pre,
  small,
  span,
  table,
  tbody,
  td,
  th,
  thead,
  tr,
  use,
} from "../dom.js";
import { ago, bytes, number, plural } from "../format.js";
import { live } from "../live.js";
import { nodeState, heartbeatAge, isDrained, setDrain } from "../node-parts.js";
import { act, card, copyButton, Dialog, empty, failureBox, link, meter, scroll } from "../parts.js";
import { refine, route } from "../router.js";

const COLUMNS = [
  ["hostname", "Name"],
  ["status", "State"],
  ["cores", "Cores"],
  ["memory", "Memory"],
  ["running_tasks", "Tasks"],
  ["numa", "NUMA"],
  ["driver", "Driver"],
  ["docker", "Docker"],
  ["version", "Version"],
  ["heartbeat", "Heard"],
];
const LOOPBACK = /\/\/(127\.|localhost|\[::1\])/;
const VALUES = {
  cores: (node) => node.cores_in_use / Math.max(node.total_cores, 1),
  memory: (node) => node.memory_percent ?? 0,
  numa: (node) => Object.keys(node.numa_topology ?? {}).length,
  heartbeat: (node) => heartbeatAge(node) ?? Number.MAX_VALUE,
};

export const Nodes = {
  setup() {
    const adding = ref(Boolean(route.query.add));
    const by = computed(() => route.query.sort ?? "hostname");
    const rows = computed(() => {
      const name = by.value.replace(/^-/, "");
      const value = VALUES[name] ?? ((node) => node[name] ?? "");
      const order = by.value.startsWith("-") ? -1 : 1;
      return Object.values(live.nodes).sort((one, two) => {
        const [first, second] = [value(one), value(two)];
        if (first === second) return one.hostname.localeCompare(two.hostname);
        return order * (typeof first === "number" ? first - second : String(first).localeCompare(String(second)));
      });
    });
    const close = () => {
      adding.value = false;
      refine({ add: "" });
    };
    const heading = ([name, text]) => {
      const sorted = by.value.replace(/^-/, "") === name;
      const direction = by.value.startsWith("-") ? "descending" : "ascending";
      return th(
        { scope: "col", "aria-sort": sorted ? direction : undefined },
        button(
          {
            type: "button",
            class: "sorter",
            onClick: () => refine({ sort: sorted && direction === "ascending" ? `-${name}` : name }),
          },
          text,
        ),
      );
    };
    return () =>
      div(
        { class: "stack" },
        card(
          plural(rows.value.length, "node"),
          button(
            {
              type: "button",
              class: "main",
              onClick: () => {
                adding.value = true;
              },
            },
            "Add a node",
          ),
          rows.value.length
            ? scroll(
                "Nodes",
                table(
                  { class: "rows wide-table" },
                  caption({ class: "offscreen" }, "Nodes of the cluster"),
                  thead(tr(COLUMNS.map(heading), th(span({ class: "offscreen" }, "What to do")))),
                  tbody(rows.value.map(row)),
                ),
              )
            : empty("No machine has joined yet."),
        ),
        adding.value ? use(AddNode, { onClose: close }) : null,
      );
  },
};

function row(node) {
  const numa = Object.keys(node.numa_topology ?? {}).length;
  return tr(
    { key: node.hostname },
    th({ scope: "row" }, link(`/nodes/${encodeURIComponent(node.hostname)}`, node.hostname)),
    td(nodeState(node), (node.problems ?? []).length ? p({ class: "problem" }, node.problems[0]) : null),
    td(
      div(
        { class: "cell-meter" },
        span(`${number(node.cores_in_use)} / ${number(node.total_cores)}`),
        meter(
          [{ value: node.cores_in_use, kind: "hold" }],
          node.total_cores,
          `${number(node.cores_in_use)} of ${number(node.total_cores)} cores reserved`,
        ),
        small(`${Math.round(node.cpu_percent ?? 0)} % busy`),
      ),
    ),
    td(
      div(
        { class: "cell-meter" },
        span(`${bytes(node.memory_used_bytes)} / ${bytes(node.memory_total_bytes)}`),
        meter(
          [{ value: node.memory_used_bytes ?? 0, kind: "use" }],
          node.memory_total_bytes,
          `${bytes(node.memory_used_bytes)} of ${bytes(node.memory_total_bytes)} in use`,
        ),
        small(`${bytes(node.memory_in_use_bytes)} reserved`),
      ),
    ),
    td({ class: "num" }, number(node.running_tasks, 0)),
    td({ class: "num" }, numa || "–"),
    td(node.driver ?? "–"),
    td({ title: node.docker ?? undefined }, (node.docker ?? "none").split("+")[0]),
    td(node.version || "–"),
    td({ class: "when" }, ago(heartbeatAge(node))),
    td(
      { class: "acts" },
      act(isDrained(node) ? "Undrain" : "Drain", () => setDrain(node), { kind: "small" }),
    ),
  );
}

const AddNode = {
  emits: ["close"],
  setup(_, { emit }) {
    const commands = ref(null);
    const failure = ref(null);
    const load = async () => {
      failure.value = null;
      try {
        commands.value = (await get("/join-snippet")).commands;
      } catch (error) {
        failure.value = error;
      }
    };
    onMounted(load);
    return () =>
      use(Dialog, { title: "Add a node", wide: true, onClose: () => emit("close") }, () => [
        p("Type this on the new machine. It needs Linux and Python 3.10 or newer, and must reach this host."),
        failureBox(failure.value, load),
        commands.value?.some((command) => LOOPBACK.test(command))
          ? div(
              { class: "notice" },
              p(
                "This host can be reached from its own machine only. For others set ",
                code("host_bind_ip"),
                " and ",
                code("host_reachable_address"),
                " in its configuration.",
              ),
            )
          : null,
        commands.value ? ol({ class: "steps" }, commands.value.map(step)) : null,
        p(
          "It appears in the list as soon as it runs. To have it start at every boot, see ",
          code("init service --runner --join"),
          " in the guide for administrators.",
        ),
      ]);
  },
};

// One at a time: the first one asks for something, and would take the next line for the answer.
function step(command, at, all) {
  const words = [
    all.length === 3 ? "Then type the token of this cluster and Enter; nothing is shown." : null,
    "Fetches the program from this host.",
    "Starts it as a node.",
  ].slice(3 - all.length);
  return li(
    { key: at },
    div({ class: "step" }, pre({ class: "snippet", tabindex: 0 }, command), copyButton(command, `step ${at + 1}`)),
    small(words[at]),
  );
}
