// One node: its history, its NUMA map, what runs there, what it holds.
import { computed, onBeforeUnmount, ref, shallowRef, watch } from "../vendor/vue.js";
import { get, getPage, inTurn, post, query } from "../api.js";
import { Charts } from "../charts.js";
import { a, code, dd, div, dl, dt, li, p, small, span, table, tbody, td, th, thead, tr, ul, use } from "../dom.js";
import { ago, bytes, shownCommand, duration, number, plural, runTime, time } from "../format.js";
import { hostNow, listen, live } from "../live.js";
import { heartbeatAge, isDrained, nodeState, setDrain } from "../node-parts.js";
import { act, ask, attempt, badge, card, empty, failureBox, link, scroll } from "../parts.js";
import { go } from "../router.js";

const HERE = "assigning,running,paused,lost";
const LIMIT = 50;

export const Node = {
  props: { name: String },
  setup(props) {
    const node = computed(() => live.nodes[props.name]);
    const held = shallowRef({ rows: [], total: 0 });
    const environments = shallowRef([]);
    const failure = ref(null);
    const tried = (work) =>
      inTurn(async () => {
        try {
          await work();
          failure.value = null;
        } catch (error) {
          failure.value = error;
        }
      });
    const loadTasks = tried(async () => {
      held.value = await getPage(`/tasks${query({ node: props.name, status: HERE, page: 1, limit: LIMIT })}`);
    });
    const loadEnvironments = tried(async () => {
      environments.value = (await get("/environments")).environments;
    });
    const load = () => Promise.all([loadTasks(), loadEnvironments()]);
    // What is here, what was here and waits again, and whatever is not told or not shown.
    const concerns = (task) =>
      task.assigned_node === props.name || held.value.rows.some((known) => known.task_id === task.task_id);
    const changed = (told) => {
      if (told.more || held.value.total > held.value.rows.length || told.tasks.some(concerns)) loadTasks();
    };
    const stops = [listen("tasks", changed), listen("back", load)];
    onBeforeUnmount(() => stops.forEach((stop) => stop()));
    watch(() => live.environments, loadEnvironments);
    load();
    const remove = async () => {
      const lost = held.value.total;
      const sure = await ask({
        title: `Remove ${props.name}?`,
        text: lost
          ? `${plural(lost, "task")} of it will be given up for good: nobody will know how they ended. Do this only if the machine never comes back.`
          : "Do this only if the machine has left for good. If its runner starts again, it joins again.",
        yes: "Remove",
      });
      if (sure && (await attempt(() => post(`/nodes/${encodeURIComponent(props.name)}/remove`, { force: lost > 0 }))))
        go("/nodes");
    };
    return () => {
      const known = node.value;
      if (!known) {
        if (!live.counts) return p({ class: "starting" }, "Waiting for the host …");
        return card("Unknown node", null, p(`There is no node ${props.name}.`), p(link("/nodes", "All nodes")));
      }
      return div(
        { class: "stack" },
        card(
          span(known.hostname, " ", nodeState(known)),
          div(
            { class: "buttons" },
            act(isDrained(known) ? "Undrain" : "Drain", () => setDrain(known)),
            act("Remove", remove, {
              kind: "danger quiet",
              disabled: known.status === "online",
              title:
                known.status === "online" ? "A node that is up cannot be removed: stop its runner first" : undefined,
            }),
          ),
          (known.problems ?? []).length
            ? div({ class: "notice is-bad" }, ul(known.problems.map((problem) => li({ key: problem }, problem))))
            : null,
          typeof known.drained === "string" && known.drained
            ? div({ class: "notice" }, p(`Drained: ${known.drained}`))
            : null,
          facts(known),
        ),
        use(Charts, { node: props.name }),
        known.numa_topology ? numaCard(known) : null,
        failureBox(failure.value, load),
        taskCard(props.name, held.value),
        environmentCard(props.name, environments.value),
      );
    };
  },
};

const facts = (node) =>
  dl(
    { class: "facts" },
    [
      ["Address", code(node.url)],
      ["Last heard", ago(heartbeatAge(node))],
      [
        "Cores",
        `${number(node.cores_in_use)} reserved of ${number(node.total_cores)}, ${Math.round(node.cpu_percent ?? 0)} % busy`,
      ],
      [
        "Memory",
        `${bytes(node.memory_used_bytes)} in use, ${bytes(node.memory_in_use_bytes)} reserved, ${bytes(node.memory_total_bytes)} there`,
      ],
      ["Tasks", `${number(node.running_tasks, 0)} of at most ${number(node.max_tasks, 0)} at once`],
      ["Without a container", node.driver ? `by ${node.driver}` : "not possible"],
      [
        "Docker",
        node.docker
          ? `${node.docker}${node.live_restore ? ", tasks outlive a restart of the engine" : ""}`
          : "no engine",
      ],
      ["Version", node.version || "–"],
    ].map(([name, value]) => div({ key: name }, dt(name), dd(value))),
  );

const numaCard = (node) =>
  card(
    "NUMA nodes",
    null,
    div(
      { class: "numa" },
      Object.entries(node.numa_topology).map(([id, numa]) =>
        div(
          { key: id, class: "numa-node" },
          div(
            { class: "numa-head" },
            span(`NUMA ${id}`),
            small(`${plural(numa.cores.length, "core")}, ${bytes(numa.memory_bytes)}`),
          ),
          div(
            { class: "numa-cores" },
            numa.cores.map((core) => span({ key: core, class: "numa-core" }, core)),
          ),
          a({ href: `#/submit?target=${encodeURIComponent(`${node.hostname}:${id}`)}` }, "Submit here"),
        ),
      ),
    ),
  );

const taskCard = (name, { rows, total }) =>
  card(
    "Tasks here",
    link(`/tasks?node=${encodeURIComponent(name)}`, "All that ever were"),
    rows.length
      ? scroll(
          "Tasks here",
          table(
            { class: "rows" },
            thead(tr(th("Task"), th("Command"), th("State"), th("Cores"), th("Started"), th("For"))),
            tbody(
              rows.map((task) =>
                tr(
                  { key: task.task_id },
                  td(link(`/tasks/${task.task_id}`, task.task_id)),
                  td({ class: "command" }, div({ class: "cut" }, shownCommand(task))),
                  td(badge(task.status)),
                  td({ class: "num" }, number(task.required_cores)),
                  td({ class: "when" }, time(task.started_at)),
                  td({ class: "when" }, duration(runTime(task, hostNow()))),
                ),
              ),
            ),
          ),
        )
      : empty("Nothing runs here."),
    total > rows.length
      ? p(
          { class: "tile-note" },
          link(`/tasks${query({ node: name, status: HERE, by: "task" })}`, `All ${number(total, 0)} that are here`),
        )
      : null,
  );

const environmentCard = (name, environments) => {
  const here = environments.filter((environment) => environment.nodes[name]);
  return card(
    "Environments here",
    link("/environments", "All environments"),
    here.length
      ? ul(
          { class: "plain-list" },
          here.map((environment) => {
            const { version, newest } = environment.nodes[name];
            return li(
              { key: environment.name },
              link("/environments", environment.name),
              " ",
              version
                ? small(`version of ${time(new Date(version * 1000).toISOString())}`)
                : small("not from a tarball"),
              " ",
              newest
                ? span({ class: "badge is-online" }, "newest")
                : environment.versions.length
                  ? span({ class: "badge is-drained" }, "older")
                  : null,
            );
          }),
        )
      : empty("This node holds no environment; it fetches one when a task needs it."),
  );
};
