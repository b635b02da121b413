// All tasks, however many: the host pages, filters and sorts; here are the rows of one page.
import { computed, onBeforeUnmount, reactive, ref, shallowRef, watch } from "../vendor/vue.js";
import { getPage, query } from "../api.js";
import {
  button,
  caption,
  code,
  div,
  form,
  input,
  label,
  option,
  p,
  select,
  small,
  span,
  strong,
  table,
  tbody,
  td,
  th,
  thead,
  tr,
} from "../dom.js";
import { useEnvironmentNames } from "../environment-names.js";
import { shownCommand, duration, FINAL, number, plural, runTime, STATUSES, statusWord, time } from "../format.js";
import { hostNow, listen, live } from "../live.js";
import { act, badge, empty, failureBox, link, meter } from "../parts.js";
import { refine, route } from "../router.js";
import { killBatch, retryBatch, taskButtons } from "../task-parts.js";

const PAGE = 50;
const FOLD = 100;
const TYPING = 250;
const COLUMNS = [
  ["id", "Task"],
  ["status", "State"],
  ["", "Command"],
  ["node", "Node"],
  ["environment", "Environment"],
  ["user", "User"],
  ["", "Cores"],
  ["submitted", "Submitted"],
  ["", "Ran for"],
];
const FILTERS = ["q", "status", "node", "user", "environment", "batch"];
const TYPED = ["q", "user"];

export const Tasks = {
  setup() {
    const filters = computed(() => Object.fromEntries(FILTERS.map((name) => [name, route.query[name] ?? ""])));
    const grouped = computed(
      () => (route.query.by ?? "submission") === "submission" && !filters.value.batch && !route.query.sort,
    );
    const sort = computed(() => route.query.sort ?? "-id");
    const page = computed(() => Math.max(Number(route.query.page) || 1, 1));
    // With what they are rows of: while another list is being fetched, the one before is still shown.
    const shown = shallowRef({ batches: grouped.value, rows: [] });
    const total = ref(null);
    // Said to who cannot see the list, once for each that was asked for: not whenever somebody submits something.
    const said = ref("");
    const failure = ref(null);
    const loading = ref(false);
    const environments = useEnvironmentNames();
    const folds = reactive({});
    let asked = null;

    // What is being typed is not in the address yet; what was changed there is in the fields.
    const typed = reactive(Object.fromEntries(TYPED.map((name) => [name, filters.value[name]])));
    let typing = null;
    const type = (name, text) => {
      typed[name] = text;
      clearTimeout(typing);
      typing = setTimeout(() => refine({ ...typed, page: "" }), TYPING);
    };
    const clear = () => {
      clearTimeout(typing);
      TYPED.forEach((name) => {
        typed[name] = "";
      });
      refine({ ...Object.fromEntries(FILTERS.map((name) => [name, ""])), page: "" });
    };
    TYPED.forEach((name) =>
      watch(
        () => filters.value[name],
        (text) => {
          typed[name] = text;
        },
      ),
    );

    const load = async () => {
      asked?.abort();
      const mine = (asked = new AbortController());
      loading.value = true;
      const batches = grouped.value;
      const wanted = { ...filters.value, page: page.value, limit: PAGE };
      try {
        const path = batches ? `/batches${query(wanted)}` : `/tasks${query({ ...wanted, sort: sort.value })}`;
        const told = await getPage(path, mine.signal);
        shown.value = { batches, rows: told.rows };
        total.value = told.total;
        failure.value = null;
        // There were more when the link was made, or a moment ago.
        const last = Math.max(Math.ceil(told.total / PAGE), 1);
        if (page.value > last) refine({ page: last === 1 ? "" : last });
        for (const id of Object.keys(folds)) loadFold(id);
      } catch (error) {
        if (error.name !== "AbortError") failure.value = error;
      } finally {
        if (mine === asked) loading.value = false;
      }
    };

    const loadFold = async (id) => {
      try {
        const told = await getPage(`/tasks${query({ batch: id, page: 1, limit: FOLD, sort: "id" })}`);
        // It may have been closed meanwhile.
        if (folds[id]) folds[id] = told;
      } catch (error) {
        failure.value = error;
      }
    };
    const fold = (id) => {
      if (folds[id]) delete folds[id];
      else {
        folds[id] = { rows: [], total: 0 };
        loadFold(id);
      }
    };

    // Rows change where they are; what comes and goes is asked for now and then.
    let waiting = null;
    const soon = () => {
      waiting ??= setTimeout(() => {
        waiting = null;
        // What is under way is not given up for the same once more: else a slow answer would never come.
        if (loading.value) soon();
        else load();
      }, 2000);
    };
    const changed = (told) => {
      const news = new Map(told.tasks.map((task) => [task.task_id, task]));
      const fresh = (task) => news.get(task.task_id) ?? task;
      if (!shown.value.batches) shown.value = { batches: false, rows: shown.value.rows.map(fresh) };
      for (const known of Object.values(folds)) known.rows = known.rows.map(fresh);
      soon();
    };
    const stops = [listen("tasks", changed), listen("counts", soon), listen("back", load)];
    onBeforeUnmount(() => {
      stops.forEach((stop) => stop());
      clearTimeout(waiting);
      clearTimeout(typing);
      asked?.abort();
    });
    const look = async () => {
      await load();
      if (total.value !== null) said.value = counted(total.value, shown.value.batches);
    };
    watch(() => JSON.stringify([filters.value, grouped.value, sort.value, page.value]), look, { immediate: true });

    return () =>
      div(
        { class: "stack" },
        filterBar({
          filters: filters.value,
          typed,
          type,
          clear,
          environments: environments.value,
          grouped: grouped.value,
        }),
        failureBox(failure.value, load),
        div(
          { class: "card" },
          div(
            { class: "scroll", tabindex: 0, role: "region", "aria-label": "Tasks", "aria-busy": loading.value },
            table(
              { class: "rows wide-table tasks-table" },
              caption({ class: "offscreen" }, "Tasks"),
              thead(
                tr(
                  COLUMNS.map((column) => heading(column, sort.value, grouped.value)),
                  th(span({ class: "offscreen" }, "What to do")),
                ),
              ),
              tbody(
                shown.value.batches
                  ? shown.value.rows.flatMap((batch) => batchRows(batch, folds, fold))
                  : shown.value.rows.map((task) => taskRow(task)),
              ),
            ),
          ),
          shown.value.rows.length || total.value === null ? null : nothing(filters.value),
          pager(page.value, total.value, shown.value.batches),
          span({ class: "offscreen", role: "status" }, said.value),
        ),
      );
  },
};

function heading([name, text], sort, grouped) {
  if (!name) return th({ scope: "col" }, text);
  const sorted = !grouped && sort.replace(/^-/, "") === name;
  const falling = sort.startsWith("-");
  const next = sorted && falling ? name : `-${name}`;
  return th(
    { scope: "col", "aria-sort": sorted ? (falling ? "descending" : "ascending") : undefined },
    button({ type: "button", class: "sorter", onClick: () => refine({ sort: next, page: "" }) }, text),
  );
}

function filterBar({ filters, typed, type, clear, environments, grouped }) {
  const chosen = new Set(filters.status.split(",").filter(Boolean));
  const toggle = (status) => {
    const next = new Set(chosen);
    if (!next.delete(status)) next.add(status);
    refine({ status: [...next].join(","), page: "" });
  };
  const nodes = Object.keys(live.nodes).sort();
  const any = FILTERS.some((name) => filters[name]);
  return div(
    { class: "card filters" },
    form(
      { class: "filter-fields", role: "search", onSubmit: (event) => event.preventDefault() },
      label(
        span("Search"),
        input({
          type: "search",
          value: typed.q,
          placeholder: "words of the command, message, node …",
          onInput: (event) => type("q", event.target.value),
        }),
      ),
      label(
        span("Node"),
        select(
          { value: filters.node, onChange: (event) => refine({ node: event.target.value, page: "" }) },
          option({ value: "" }, "any"),
          nodes.map((name) => option({ key: name, value: name }, name)),
          filters.node && !nodes.includes(filters.node) ? option({ value: filters.node }, filters.node) : null,
        ),
      ),
      label(
        span("Environment"),
        select(
          { value: filters.environment, onChange: (event) => refine({ environment: event.target.value, page: "" }) },
          option({ value: "" }, "any"),
          option({ value: "NULL" }, "no container"),
          environments.map((name) => option({ key: name, value: name }, name)),
          filters.environment && filters.environment !== "NULL" && !environments.includes(filters.environment)
            ? option({ value: filters.environment }, filters.environment)
            : null,
        ),
      ),
      label(
        span("User"),
        input({ value: typed.user, placeholder: "anybody", onInput: (event) => type("user", event.target.value) }),
      ),
      label(
        span("Show"),
        select(
          {
            value: grouped ? "submission" : "task",
            onChange: (event) => refine({ by: event.target.value, sort: "", batch: "", page: "" }),
          },
          option({ value: "submission" }, "by submission"),
          option({ value: "task" }, "each task"),
        ),
      ),
    ),
    div(
      { class: "chips", role: "group", "aria-label": "States shown" },
      STATUSES.map((status) =>
        button(
          {
            key: status,
            type: "button",
            class: ["chip", `is-${status}`],
            "aria-pressed": chosen.has(status),
            onClick: () => toggle(status),
          },
          span({ class: ["dot", `is-${status}`] }),
          statusWord(status),
          span({ class: "count" }, number(live.counts?.[status] ?? 0, 0)),
        ),
      ),
      filters.batch
        ? button(
            { type: "button", class: "chip", "aria-pressed": true, onClick: () => refine({ batch: "", page: "" }) },
            `batch ${filters.batch} ×`,
          )
        : null,
      any ? button({ type: "button", class: "plain", onClick: clear }, "Clear all filters") : null,
    ),
  );
}

const nothing = (filters) =>
  FILTERS.some((name) => filters[name]) ? empty("No task is like that.") : empty("Nothing was submitted yet.");

function taskRow(task, inside = false) {
  const numa = task.target_numa_node_id;
  return tr(
    { key: task.task_id, class: { inside } },
    th({ scope: "row" }, link(`/tasks/${task.task_id}`, task.task_id)),
    td(badge(task.status)),
    td({ class: "command" }, div({ class: "cut", title: shownCommand(task) }, shownCommand(task)), why(task)),
    td(
      task.assigned_node ?? (task.target_node ? small(`for ${task.target_node}`) : "–"),
      numa === null ? null : small(` NUMA ${numa}`),
    ),
    td(environmentName(task)),
    td(task.user || "–"),
    td({ class: "num" }, number(task.required_cores)),
    td({ class: "when" }, time(task.submitted_at)),
    td({ class: "when" }, duration(runTime(task, hostNow()))),
    td({ class: "acts" }, taskButtons(task, { small: true })),
  );
}

// What a row has to say beyond its state, on one line; all of it is on the task's own page.
const why = (task) =>
  task.error_message &&
  task.status !== "completed" &&
  small({ class: "cut why", title: task.error_message }, task.error_message);

const environmentName = (task) =>
  !task.container_name || task.container_name === "NULL" ? "no container" : task.container_name;

function batchRows(batch, folds, fold) {
  if (batch.total === 1) return [taskRow(batch.first)];
  const id = batch.batch_id;
  const open = folds[id];
  const going = batch.ended_at === null;
  const done = STATUSES.filter((status) => FINAL.has(status)).reduce(
    (sum, status) => sum + (batch.by_status[status] ?? 0),
    0,
  );
  const words = STATUSES.filter((status) => batch.by_status[status]).map(
    (status) => `${number(batch.by_status[status], 0)} ${statusWord(status)}`,
  );
  const rows = [
    tr(
      { key: `batch-${id}`, class: "batch" },
      th(
        { scope: "row" },
        button(
          {
            type: "button",
            class: "fold",
            "aria-expanded": Boolean(open),
            "aria-label": `Tasks of batch ${id}`,
            onClick: () => fold(id),
          },
          span({ class: "arrow", "aria-hidden": "true" }, open ? "▾" : "▸"),
          id,
        ),
      ),
      td(
        { colspan: 2, class: "batch-cell" },
        div(
          { class: "batch-line" },
          strong(plural(batch.total, "task")),
          code({ class: "cut", title: shownCommand(batch.first) }, shownCommand(batch.first), " …"),
        ),
        meter(
          STATUSES.map((status) => ({ value: batch.by_status[status] ?? 0, kind: status })),
          batch.total,
          words.join(", "),
        ),
        small(`${number(done, 0)} of ${number(batch.total, 0)} ended: ${words.join(", ")}`),
      ),
      td("–"),
      td(environmentName(batch.first)),
      td(batch.first.user || "–"),
      td({ class: "num" }, number(batch.first.required_cores)),
      td({ class: "when" }, time(batch.submitted_at)),
      td({ class: "when" }, going ? "–" : duration((new Date(batch.ended_at) - new Date(batch.submitted_at)) / 1000)),
      td(
        { class: "acts" },
        batch.by_status.failed ? act("Retry failed", () => retryBatch(batch), { kind: "small" }) : null,
        going ? act("Kill all", () => killBatch(batch), { kind: "small danger quiet" }) : null,
      ),
    ),
  ];
  if (open) {
    rows.push(...open.rows.map((task) => taskRow(task, true)));
    if (open.total > open.rows.length) {
      rows.push(
        tr(
          { key: `more-${id}`, class: "inside" },
          td(
            { colspan: COLUMNS.length + 1 },
            link(`/tasks?batch=${id}&sort=id`, `All ${number(open.total, 0)} tasks of batch ${id}`),
          ),
        ),
      );
    }
  }
  return rows;
}

const counted = (total, grouped) => plural(total, grouped ? "submission" : "task");

function pager(page, total, grouped) {
  if (total === null || Number.isNaN(total)) return null;
  const last = Math.max(Math.ceil(total / PAGE), 1);
  const to = (number) => ({
    type: "button",
    class: "small",
    onClick: () => refine({ page: number === 1 ? "" : number }),
  });
  return div(
    { class: "pager" },
    p(counted(total, grouped)),
    last > 1
      ? div(
          { class: "buttons" },
          button({ ...to(1), disabled: page <= 1 }, "First"),
          button({ ...to(page - 1), disabled: page <= 1 }, "Back"),
          span(`Page ${number(page, 0)} of ${number(last, 0)}`),
          button({ ...to(page + 1), disabled: page >= last }, "Next"),
          button({ ...to(last), disabled: page >= last }, "Last"),
        )
      : null,
  );
}
