// One task: everything that is known of it, and its output.
import { onBeforeUnmount, ref, shallowRef } from "../vendor/vue.js";
import { get } from "../api.js";
import { button, code, dd, div, dl, dt, li, p, pre, small, span, ul, use } from "../dom.js";
import { bytes, commandLine, duration, number, runTime, shownCommand, time, wholeTime } from "../format.js";
import { hostNow, listen, live } from "../live.js";
import { Output } from "../output.js";
import { badge, card, copyButton, failureBox, link } from "../parts.js";
import { taskButtons } from "../task-parts.js";

const REASONS = 5000;

export const Task = {
  props: { id: String },
  setup(props) {
    const task = shallowRef(null);
    const failure = ref(null);
    // An answer may come after a change that it does not know of yet.
    let newest = 0;
    const take = (told) => {
      if (told.revision < newest) return;
      newest = told.revision;
      task.value = told;
    };
    const load = async () => {
      try {
        take(await get(`/status/${encodeURIComponent(props.id)}`));
        failure.value = null;
      } catch (error) {
        failure.value = error;
        if (error.status === 404) task.value = null;
      }
    };
    // A host may come back with an older database.
    const anew = () => {
      newest = 0;
      load();
    };
    const changed = (told) => {
      const mine = told.tasks.find((each) => each.task_id === props.id);
      if (mine) take(mine);
      else if (told.more || told.gone.includes(props.id)) load();
    };
    const stops = [listen("tasks", changed), listen("back", anew)];
    // Why it waits changes without the task.
    const asking = setInterval(() => {
      if (task.value?.status === "pending" && live.state === "live" && !document.hidden) load();
    }, REASONS);
    onBeforeUnmount(() => {
      stops.forEach((stop) => stop());
      clearInterval(asking);
    });
    load();
    return () => {
      const known = task.value;
      if (failure.value && !known)
        return div({ class: "stack" }, failureBox(failure.value, load), p(link("/tasks", "All tasks")));
      if (!known) return p({ class: "starting" }, "Loading …");
      return div(
        { class: "stack" },
        failureBox(failure.value, load),
        card(
          span(
            { class: "states" },
            badge(known.status),
            known.wish && known.wish !== "resume" && !known.completed_at
              ? small(`${WISHES[known.wish]} is on its way`)
              : null,
          ),
          div({ class: "buttons" }, taskButtons(known)),
          known.error_message
            ? div({ class: ["notice", known.status === "pending" ? "" : "is-bad"] }, p(reasonOf(known)))
            : null,
          div(
            { class: "command-line" },
            pre({ tabindex: 0, "aria-label": "Command line" }, shownCommand(known)),
            copyButton(commandLine(known), "the command line"),
          ),
          facts(known),
          more(known),
        ),
        use(Output, { key: `${known.task_id}.${known.attempt}`, task: known }),
      );
    };
  },
};

const WISHES = { kill: "A kill", pause: "A pause" };

const reasonOf = (task) => (task.status === "pending" ? `Waits: ${task.error_message}` : task.error_message);

const facts = (task) =>
  dl(
    { class: "facts" },
    [
      ["Exit code", task.exit_code === null ? "–" : String(task.exit_code)],
      ["Ran for", duration(runTime(task, hostNow()))],
      [
        "Node",
        task.assigned_node
          ? link(`/nodes/${encodeURIComponent(task.assigned_node)}`, task.assigned_node)
          : task.target_node
            ? `waits for ${task.target_node}`
            : "–",
      ],
      ["Environment", task.container_name && task.container_name !== "NULL" ? task.container_name : "no container"],
      ["Cores", task.required_cores ? number(task.required_cores) : "no limit, none reserved"],
      ["Memory", task.required_memory_bytes ? bytes(task.required_memory_bytes) : "no limit, none reserved"],
      ["Memory at most used", task.peak_memory_bytes === null ? "not known" : bytes(task.peak_memory_bytes)],
      ["CPU time", task.cpu_seconds === null ? "not known" : duration(task.cpu_seconds)],
      [
        "Submitted",
        span({ title: wholeTime(task.submitted_at) }, time(task.submitted_at), task.user ? ` by ${task.user}` : ""),
      ],
      ["Started", span({ title: wholeTime(task.started_at) }, time(task.started_at))],
      ["Ended", span({ title: wholeTime(task.completed_at) }, time(task.completed_at))],
      ["Batch", link(`/tasks?batch=${task.batch_id}&sort=id`, task.batch_id)],
    ].map(([name, value]) => div({ key: name }, dt(name), dd(value))),
  );

// What few look for, and then they need it all.
function more(task) {
  const rows = [
    ["Arguments, one by one", code(JSON.stringify([task.command, ...task.arguments]))],
    ["Attempt", String(task.attempt)],
    [
      "Aimed at",
      task.target_node
        ? `${task.target_node}${task.target_numa_node_id === null ? "" : `, NUMA node ${task.target_numa_node_id}`}`
        : "any node",
    ],
    ["Run by", [task.driver ?? "–", task.unit_name ? [", as ", code(task.unit_name)] : null]],
    [
      "Image",
      task.image ? [code(task.image.slice(0, 19)), task.image_version ? ` of ${time(task.image_version)}` : ""] : "–",
    ],
    ["Privileged", task.privileged === null ? "as the host has it" : task.privileged ? "yes" : "no"],
    [
      "Mounts",
      task.additional_mounts.length
        ? ul(
            { class: "plain-list" },
            task.additional_mounts.map((mount) => li({ key: mount }, code(mount))),
          )
        : "none",
    ],
    [
      "Environment variables",
      Object.keys(task.env_vars).length
        ? ul(
            { class: "plain-list" },
            Object.entries(task.env_vars).map(([name, value]) => li({ key: name }, code(`${name}=${value}`))),
          )
        : "none",
    ],
    ["Output files", ul({ class: "plain-list" }, li(code(task.stdout_path)), li(code(task.stderr_path)))],
  ];
  return use(MoreFacts, { rows });
}

const MoreFacts = {
  props: { rows: Array },
  setup(props) {
    const open = ref(false);
    return () =>
      div(
        { class: "more-facts" },
        button(
          {
            type: "button",
            class: "plain",
            "aria-expanded": open.value,
            onClick: () => {
              open.value = !open.value;
            },
          },
          open.value ? "Less" : "Everything else that is known",
        ),
        open.value
          ? dl(
              { class: "facts one-column" },
              props.rows.map(([name, value]) => div({ key: name }, dt(name), dd(value))),
            )
          : null,
      );
  },
};
