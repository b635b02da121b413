// A new task: the command line as one would type it, and shown as what it comes to.
import { onBeforeUnmount, reactive, ref, shallowRef, watch } from "../vendor/vue.js";
import { get, post, session, submit } from "../api.js";
import {
  button,
  code,
  div,
  fieldset,
  form,
  h2,
  input,
  label,
  legend,
  li,
  ol,
  option,
  p,
  select,
  small,
  span,
  strong,
  textarea,
  ul,
} from "../dom.js";
import { useEnvironmentNames } from "../environment-names.js";
import { bytes, commandLine, number, parseSize, plural, quoted, visible } from "../format.js";
import { live } from "../live.js";
import { isDrained } from "../node-parts.js";
import { card, failureBox, link, say } from "../parts.js";
import { go, route } from "../router.js";

const TYPING = 250;
const blank = () => ({
  line: "",
  container: "",
  targets: [],
  cores: "",
  memory: "",
  env: "",
  mounts: "",
  privileged: "",
});

export const Submit = {
  setup() {
    const given = reactive(blank());
    const preview = shallowRef(null);
    const failure = ref(null);
    const busy = ref(false);
    const environments = useEnvironmentNames();
    // What was sent last and did not get an answer keeps its key; anything else is another submission.
    let [key, sent] = ["", ""];
    // What was taken from the task that is submitted again, as long as it is untouched: not every value of a variable
    // fits on a line, and a task without mounts keeps to that.
    let liked = null;
    let timer = null;
    let asked = 0;

    const look = async () => {
      const mine = ++asked;
      if (!given.line.trim()) {
        preview.value = null;
        return;
      }
      try {
        const told = await post("/submit/preview", { line: given.line, targets: given.targets });
        if (mine === asked) preview.value = told;
      } catch (error) {
        if (mine === asked) preview.value = { problem: { detail: error.message, hint: error.hint } };
      }
    };
    watch(
      () => [given.line, given.targets.join()].join("\n"),
      () => {
        clearTimeout(timer);
        timer = setTimeout(look, TYPING);
      },
    );
    onBeforeUnmount(() => clearTimeout(timer));

    const like = async (id) => {
      try {
        const task = await get(`/status/${encodeURIComponent(id)}`);
        const numa = task.target_numa_node_id;
        Object.assign(given, {
          line: commandLine(task),
          container: task.container_name ?? "NULL",
          targets: task.target_node ? [numa === null ? task.target_node : `${task.target_node}:${numa}`] : [],
          cores: String(task.required_cores),
          memory: task.required_memory_bytes
            ? bytes(task.required_memory_bytes)
                .replace(/ ?i?B$/, "")
                .replace(" ", "")
            : "",
          env: Object.entries(task.env_vars)
            .map(([name, value]) => `${name}=${value}`)
            .join("\n"),
          mounts: task.additional_mounts.join("\n"),
          privileged: task.privileged ? "yes" : "no",
        });
        liked = { env: given.env, variables: task.env_vars, mounts: given.mounts, paths: task.additional_mounts };
        // A size that is no round number of its unit is said in bytes, exactly.
        if (task.required_memory_bytes && parseSize(given.memory) !== task.required_memory_bytes)
          given.memory = String(task.required_memory_bytes);
      } catch (error) {
        failure.value = error;
      }
    };
    watch(
      () => route.query.like,
      (id) => id && like(id),
      { immediate: true },
    );
    if (route.query.target) given.targets = [route.query.target];

    const problems = () => {
      const found = {};
      if (given.cores.trim() && !(Number(given.cores) >= 0 && Number.isFinite(Number(given.cores))))
        found.cores = "A number, such as 2 or 0.5; 0 reserves none.";
      if (Number.isNaN(parseSize(given.memory))) found.memory = "A size, such as 512M or 4G.";
      if (given.env !== liked?.env && splitLines(given.env).some((line) => !/^[A-Za-z_][A-Za-z0-9_]*=/.test(line)))
        found.env = "One NAME=VALUE on each line.";
      if (splitLines(given.mounts).some((line) => !/^\/[^:]*:\/[^:]*(:r[ow])?$/.test(line)))
        found.mounts = "One SRC:DST or SRC:DST:ro on each line, both absolute.";
      return found;
    };
    const body = () => {
      const told = preview.value;
      const document = { user: session.user, targets: given.targets };
      if (told.sweep) document.sweep = told.sweep;
      else [document.command, document.arguments] = [told.argv[0], told.argv.slice(1)];
      const env = splitLines(given.env).map((line) => [
        line.slice(0, line.indexOf("=")),
        line.slice(line.indexOf("=") + 1),
      ]);
      // What is left empty is not sent: the host's own setting holds then.
      if (env.length) document.env_vars = given.env === liked?.env ? liked.variables : Object.fromEntries(env);
      if (given.cores.trim()) document.required_cores = Number(given.cores);
      if (given.memory.trim()) document.required_memory_bytes = parseSize(given.memory);
      if (given.container) document.container_name = given.container;
      if (given.mounts === liked?.mounts) document.additional_mounts = liked.paths;
      else if (splitLines(given.mounts).length) document.additional_mounts = splitLines(given.mounts);
      if (given.privileged) document.privileged = given.privileged === "yes";
      return document;
    };
    const send = async (event) => {
      event.preventDefault();
      if (busy.value) return;
      busy.value = true;
      failure.value = null;
      clearTimeout(timer);
      try {
        await look();
        if (!preview.value || preview.value.problem || Object.keys(problems()).length) return;
        const document = body();
        if (JSON.stringify(document) !== sent) [key, sent] = [newKey(), JSON.stringify(document)];
        const answer = await submit(document, key);
        sent = "";
        const ids = answer.task_ids ?? [];
        const refused = answer.failed_targets ?? [];
        if (refused.length)
          say(
            `${plural(refused.length, "target")} refused: ${refused.map((each) => `${each.target}: ${each.reason ?? each.error ?? ""}`).join("; ")}`,
            "bad",
          );
        if (ids.length)
          say(
            ids.length === 1
              ? `Task ${ids[0]} is submitted.`
              : `${plural(ids.length, "task")} are submitted as batch ${ids[0]}.`,
          );
        go(ids.length === 1 ? `/tasks/${ids[0]}` : "/tasks");
      } catch (error) {
        failure.value = error;
      } finally {
        busy.value = false;
      }
    };
    return () => {
      const wrong = problems();
      const set = (field) => ({
        value: given[field],
        onInput: (event) => {
          given[field] = event.target.value;
        },
      });
      return form(
        { class: "stack submit-form", onSubmit: send },
        failureBox(failure.value),
        div(
          { class: "card" },
          label(
            { class: "field" },
            span("Command line"),
            textarea({
              ...set("line"),
              class: "line",
              rows: 3,
              spellcheck: false,
              autocapitalize: "off",
              required: true,
              placeholder: "python train.py --lr span:{0.1,0.01} --seed span:{1..5}",
            }),
            small(
              "As you would type it. Quotes and backslashes work; ",
              code("$"),
              ", ",
              code("*"),
              " and ",
              code("|"),
              " mean nothing here, unless you start a shell: ",
              code("sh -c '…'"),
              ". A ",
              code("span:{…}"),
              " makes a task for each value.",
            ),
          ),
          previewBox(preview.value),
        ),
        div(
          { class: "card fields" },
          label(
            { class: "field" },
            span("Environment"),
            select(
              {
                value: given.container,
                onChange: (event) => {
                  given.container = event.target.value;
                },
              },
              option({ value: "" }, "the host's default"),
              option({ value: "NULL" }, "no container, directly on the node"),
              environments.value.map((name) => option({ key: name, value: name }, name)),
              given.container && given.container !== "NULL" && !environments.value.includes(given.container)
                ? option({ value: given.container }, given.container)
                : null,
            ),
          ),
          field("Cores", "the default: 1", set("cores"), wrong.cores, "0 reserves and limits nothing.", {
            inputmode: "decimal",
          }),
          field(
            "Memory",
            "no limit",
            set("memory"),
            wrong.memory,
            parseSize(given.memory) > 0 ? `Limit: ${bytes(parseSize(given.memory))}` : "Such as 512M or 4G.",
          ),
          label(
            { class: "field" },
            span("Privileged"),
            select(
              {
                value: given.privileged,
                onChange: (event) => {
                  given.privileged = event.target.value;
                },
              },
              option({ value: "" }, "the host's default"),
              option({ value: "no" }, "no"),
              option({ value: "yes" }, "yes"),
            ),
          ),
        ),
        targetsCard(given),
        div(
          { class: "card fields wide-fields" },
          area("Environment variables", "NAME=VALUE, one on each line", set("env"), wrong.env),
          area("Mounts", "the host's default, or /data:/data:ro, one on each line", set("mounts"), wrong.mounts),
        ),
        div(
          { class: "submit-bar" },
          p({ role: "status" }, summary(preview.value)),
          button(
            { type: "submit", class: "main", disabled: busy.value || !given.line.trim() },
            busy.value ? "Submitting …" : submitWords(preview.value),
          ),
        ),
      );
    };
  },
};

// Only pages that came over TLS, or from this machine, have randomUUID().
const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16)).join("-");

const splitLines = (text) =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);

const field = (name, placeholder, model, problem, hint, more = {}) =>
  label(
    { class: "field" },
    span(name),
    input({ ...model, ...more, placeholder, "aria-invalid": problem ? true : undefined }),
    problem ? small({ class: "field-problem" }, problem) : small(hint),
  );

const area = (name, placeholder, model, problem) =>
  label(
    { class: "field" },
    span(name),
    textarea({ ...model, rows: 3, placeholder, spellcheck: false, "aria-invalid": problem ? true : undefined }),
    problem ? small({ class: "field-problem" }, problem) : null,
  );

function targetsCard(given) {
  const nodes = Object.values(live.nodes).sort((one, two) => one.hostname.localeCompare(two.hostname));
  const toggle = (target) => {
    given.targets = given.targets.includes(target)
      ? given.targets.filter((each) => each !== target)
      : [...given.targets, target];
  };
  const box = (target, name, more) =>
    label(
      { key: target, class: ["target", { chosen: given.targets.includes(target) }] },
      input({ type: "checkbox", checked: given.targets.includes(target), onChange: () => toggle(target) }),
      span(strong(name), small(more)),
    );
  return div(
    { class: "card" },
    fieldset(
      legend(h2("Where")),
      p(
        given.targets.length
          ? `${plural(given.targets.length, "task")}, one on each place chosen${given.targets.length > 1 ? " (for each combination of a sweep)" : ""}.`
          : "Nothing chosen: any node with room.",
      ),
      div(
        { class: "targets" },
        nodes.flatMap((node) => [
          box(
            node.hostname,
            node.hostname,
            node.status !== "online"
              ? "down: waits until it is back"
              : isDrained(node)
                ? "drained: waits until it is undrained"
                : `${number(node.available_cores)} of ${number(node.total_cores)} cores free`,
          ),
          ...Object.entries(node.numa_topology ?? {}).map(([id, numa]) =>
            box(
              `${node.hostname}:${id}`,
              `${node.hostname}, NUMA ${id}`,
              `${plural(numa.cores.length, "core")}, ${bytes(numa.memory_bytes)}`,
            ),
          ),
        ]),
      ),
      nodes.length ? null : p("There are no nodes yet: the task waits for one. ", link("/nodes?add=1", "Add a node")),
    ),
  );
}

function previewBox(told) {
  if (!told) return null;
  if (told.problem)
    return div(
      { class: "notice is-bad", role: "alert" },
      p(told.problem.detail),
      told.problem.hint ? small(told.problem.hint) : null,
    );
  if (told.tasks === 1) {
    return div(
      { class: "preview" },
      small("The program gets exactly these words:"),
      ul(
        { class: "words" },
        told.argv.map((word, at) => li({ key: at }, code(word === "" ? "(empty)" : visible(word)))),
      ),
    );
  }
  return div(
    { class: "preview" },
    small(`${plural(told.tasks, "task")}, such as:`),
    ol(
      { class: "examples" },
      told.examples.map((argv, at) => li({ key: at }, code(visible(argv.map(quoted).join(" "))))),
    ),
  );
}

const summary = (told) => (told && !told.problem ? `${plural(told.tasks, "task")} will be submitted.` : "");
const submitWords = (told) =>
  told && !told.problem && told.tasks > 1 ? `Submit ${plural(told.tasks, "task")}` : "Submit";
