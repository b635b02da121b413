// The whole cluster at a glance.
import { computed } from "../vendor/vue.js";
import { Charts } from "../charts.js";
import { a, div, li, p, small, span, table, tbody, td, th, thead, tr, ul, use } from "../dom.js";
import { bytes, shownCommand, number, percent, plural, STATUSES, statusWord, time } from "../format.js";
import { live } from "../live.js";
import { badge, card, empty, fact, link, meter, scroll } from "../parts.js";

const sum = (nodes, field) => nodes.reduce((total, node) => total + (node[field] ?? 0), 0);

export const Overview = {
  setup() {
    const nodes = computed(() => Object.values(live.nodes));
    const online = computed(() => nodes.value.filter((node) => node.status === "online"));
    return () => {
      if (!live.counts) return p({ class: "starting" }, "Waiting for the host …");
      if (!nodes.value.length) return div({ class: "stack" }, noNodes(), taskCard());
      return div({ class: "stack" }, facts(nodes.value, online.value), use(Charts), taskCard(), lists());
    };
  },
};

const noNodes = () =>
  card(
    "No nodes yet",
    null,
    p("A cluster needs at least one machine that runs tasks. Add one and it appears here by itself."),
    p(a({ class: "button main", href: "#/nodes?add=1" }, "Add a node")),
  );

function facts(nodes, online) {
  const down = nodes.length - online.length;
  const cores = sum(online, "total_cores");
  const held = sum(online, "cores_in_use");
  const busy = online.reduce((total, node) => total + ((node.cpu_percent ?? 0) * node.total_cores) / 100, 0);
  const memory = sum(online, "memory_total_bytes");
  const used = sum(online, "memory_used_bytes");
  const kept = sum(online, "memory_in_use_bytes");
  const counts = live.counts;
  const drained = online.filter(
    (node) => node.drained !== null && node.drained !== undefined && node.drained !== false,
  ).length;
  return div(
    { class: "grid four" },
    link(
      "/nodes",
      div(
        { class: "card tile" },
        fact(span(String(online.length), small({ class: "of" }, ` of ${nodes.length}`)), "nodes up"),
        p(
          { class: down ? "tile-note is-bad" : "tile-note" },
          down ? `${plural(down, "node")} down` : drained ? `${plural(drained, "node")} drained` : "All nodes answer",
        ),
      ),
    ),
    div(
      { class: "card tile" },
      fact(span(number(held), small({ class: "of" }, ` of ${number(cores)}`)), "cores reserved"),
      meter([{ value: held, kind: "hold" }], cores, `${number(held)} of ${number(cores)} cores reserved`),
      p({ class: "tile-note" }, `${number(busy)} busy (${percent(cores ? (100 * busy) / cores : null)})`),
    ),
    div(
      { class: "card tile" },
      fact(span(bytes(used), small({ class: "of" }, ` of ${bytes(memory)}`)), "memory in use"),
      meter([{ value: used, kind: "use" }], memory, `${bytes(used)} of ${bytes(memory)} in use`),
      p({ class: "tile-note" }, `${bytes(kept)} reserved by tasks`),
    ),
    link(
      "/tasks?status=running",
      div(
        { class: "card tile" },
        fact(number(counts.running ?? 0, 0), "tasks running"),
        p({ class: "tile-note" }, `${number((counts.pending ?? 0) + (counts.assigning ?? 0), 0)} waiting`),
        counts.lost ? p({ class: "tile-note is-bad" }, `${plural(counts.lost, "task")} on silent nodes`) : null,
      ),
    ),
  );
}

function taskCard() {
  const known = STATUSES.filter((status) => live.counts[status]);
  const total = known.reduce((so, status) => so + live.counts[status], 0);
  return card(
    "Tasks by state",
    link("/tasks", "All tasks"),
    total
      ? [
          meter(
            known.map((status) => ({ value: live.counts[status], kind: status })),
            total,
            "Tasks by state, see the list below",
          ),
          ul(
            { class: "legend" },
            known.map((status) =>
              li(
                { key: status },
                link(
                  `/tasks?status=${status}`,
                  span({ class: ["dot", `is-${status}`] }),
                  `${statusWord(status)} `,
                  span({ class: "count" }, number(live.counts[status], 0)),
                ),
              ),
            ),
          ),
        ]
      : empty("Nothing was submitted yet.", a({ class: "button", href: "#/submit" }, "Submit the first task")),
  );
}

const lists = () =>
  div(
    { class: "grid two" },
    card(
      "What waits, and why",
      live.counts.pending ? link("/tasks?status=pending", `All ${number(live.counts.pending, 0)}`) : null,
      live.waiting.length
        ? scroll(
            "What waits",
            table(
              { class: "rows" },
              thead(tr(th("Task"), th("Command"), th("Reason"))),
              tbody(
                live.waiting
                  .slice(0, 8)
                  .map((task) =>
                    tr(
                      { key: task.task_id },
                      td(link(`/tasks/${task.task_id}`, task.task_id)),
                      td({ class: "command" }, div({ class: "cut" }, shownCommand(task))),
                      td(div({ class: "few-lines" }, task.error_message ?? "about to be placed")),
                    ),
                  ),
              ),
            ),
          )
        : empty("Nothing waits."),
    ),
    card(
      "Latest failures",
      live.counts.failed ? link("/tasks?status=failed,killed_oom", "All") : null,
      live.failures.length
        ? scroll(
            "Latest failures",
            table(
              { class: "rows" },
              thead(tr(th("Task"), th("Command"), th("What happened"), th("When"))),
              tbody(
                live.failures
                  .slice(0, 8)
                  .map((task) =>
                    tr(
                      { key: task.task_id },
                      td(link(`/tasks/${task.task_id}`, task.task_id)),
                      td({ class: "command" }, div({ class: "cut" }, shownCommand(task))),
                      td(
                        task.status === "failed" && task.exit_code !== null && !task.error_message
                          ? `exit code ${task.exit_code}`
                          : task.error_message
                            ? div({ class: "few-lines" }, task.error_message)
                            : badge(task.status),
                      ),
                      td({ class: "when" }, time(task.completed_at)),
                    ),
                  ),
              ),
            ),
          )
        : empty("Nothing has failed."),
    ),
  );
