// Environments: the containers that they are prepared in, the tarballs that they are kept in, the nodes that have them.
import { computed, onBeforeUnmount, ref, shallowRef, watch } from "../vendor/vue.js";
import { get, post } from "../api.js";
import {
  button,
  code,
  dd,
  div,
  dl,
  dt,
  li,
  p,
  progress,
  small,
  span,
  table,
  tbody,
  td,
  th,
  thead,
  tr,
  ul,
  use,
} from "../dom.js";
import { bytes, percent, plural, wholeTime } from "../format.js";
import { listen, live } from "../live.js";
import { act, ask, attempt, card, cardWith, empty, failureBox, scroll } from "../parts.js";
import { go } from "../router.js";
import { Create, Sync, withUser } from "./environment-dialogs.js";

const path = (verb, name) => `/docker/host/${verb}/${encodeURIComponent(name)}`;
const over = (job) => job.state === "done" || job.state === "failed";

export const Environments = {
  setup() {
    const known = shallowRef(null);
    const failure = ref(null);
    const creating = ref(false);
    const syncing = ref(null);
    const load = async () => {
      try {
        known.value = await get("/environments");
        failure.value = null;
      } catch (error) {
        failure.value = error;
      }
    };
    watch(() => live.environments, load);
    // Jobs that ended have changed something, whoever began them.
    const ended = computed(() => Object.values(live.jobs).filter(over).length);
    watch(ended, load);
    const stop = listen("back", load);
    onBeforeUnmount(stop);
    load();
    return () => {
      const told = known.value;
      return div(
        { class: "stack" },
        failureBox(failure.value, load),
        told?.engine_problem
          ? div(
              { class: "notice is-bad" },
              p("Containers on the host cannot be shown or changed: ", told.engine_problem),
            )
          : null,
        card(
          told ? plural(told.environments.length, "environment") : "Environments",
          button(
            {
              type: "button",
              class: "main",
              onClick: () => {
                creating.value = true;
              },
            },
            "New environment",
          ),
          p(
            { class: "lead" },
            "An environment is a container that you prepare by hand in a shell on the host, and pack: tasks then run in a copy of it on every node.",
          ),
        ),
        jobList(),
        told && !told.environments.length ? div({ class: "card" }, empty("There is no environment yet.")) : null,
        told &&
          [...told.environments]
            .sort((one, two) => weight(one) - weight(two))
            .map((each) => environmentCard(each, syncing)),
        creating.value
          ? use(Create, {
              onClose: () => {
                creating.value = false;
              },
            })
          : null,
        syncing.value
          ? use(Sync, {
              environment: syncing.value,
              onClose: () => {
                syncing.value = null;
              },
            })
          : null,
      );
    };
  },
};

const KINDS = {
  create: "Making",
  pack: "Packing",
  sync: "Bringing to nodes",
  initial: "Making the default environment",
};

function jobList() {
  const jobs = Object.values(live.jobs);
  // What failed is shown until the same is tried again.
  const again = (job, at) =>
    jobs.some((later, place) => place > at && later.kind === job.kind && later.environment === job.environment);
  const shown = jobs
    .filter((job, at) => !over(job) || (job.state === "failed" && !again(job, at)))
    .slice(-6)
    .reverse();
  if (!shown.length) return null;
  return div(
    { class: "card jobs", "aria-label": "Work going on", role: "region" },
    shown.map((job) =>
      div(
        { key: job.job_id, class: "job" },
        div(
          { class: "job-head" },
          span(`${KINDS[job.kind] ?? job.kind} `, code(job.environment)),
          small(job.state === "failed" ? "failed" : job.stage || job.state),
        ),
        job.state === "failed"
          ? div(
              { class: "notice is-bad" },
              p(job.error?.detail ?? job.message),
              job.error?.hint ? small(job.error.hint) : null,
            )
          : [
              progress({
                max: job.bytes_total || undefined,
                value: job.bytes_total ? job.bytes_done : undefined,
                "aria-label": `${KINDS[job.kind] ?? job.kind} ${job.environment}`,
              }),
              job.bytes_done
                ? small(
                    `${bytes(job.bytes_done)}${job.bytes_total ? ` of ${bytes(job.bytes_total)}, ${percent((100 * job.bytes_done) / job.bytes_total)}` : ""}`,
                  )
                : null,
            ],
      ),
    ),
  );
}

function environmentCard(environment, syncing) {
  const { name, container } = environment;
  const runs =
    container?.status?.toLowerCase().startsWith("running") || container?.status?.toLowerCase().startsWith("up");
  const busy = Object.values(live.jobs).some((job) => job.environment === name && !over(job));
  const buttons = [];
  if (container) {
    buttons.push(act("Shell", () => go(`/environments/${encodeURIComponent(name)}/shell`), { kind: "main" }));
    if (runs) buttons.push(act("Stop", () => attempt(() => post(path("stop", name)))));
    else buttons.push(act("Start", () => attempt(() => post(path("start", name)))));
    buttons.push(
      act(
        "Pack",
        () => attempt(() => post(`/docker/create_tar/${encodeURIComponent(name)}`, withUser()), `Packing ${name}.`),
        { disabled: busy, title: "Save its present state as a new version" },
      ),
    );
  }
  if (environment.versions.length)
    buttons.push(
      act(
        "Sync …",
        async () => {
          syncing.value = environment;
        },
        { disabled: busy },
      ),
    );
  if (container) buttons.push(act("Delete container", () => deleteContainer(environment), { kind: "danger quiet" }));
  return cardWith(
    { "data-environment": name, key: name },
    span(
      name,
      " ",
      container
        ? span(
            { class: ["badge", runs ? "is-online" : "is-offline-quiet"] },
            runs ? "container runs" : "container stopped",
          )
        : span({ class: "badge is-offline-quiet" }, "no container here"),
    ),
    div({ class: "buttons" }, buttons),
    dl(
      { class: "facts" },
      [
        container ? ["Made from", code(container.image)] : null,
        ["Used by", plural(environment.tasks, "task")],
        ["On nodes", nodesOf(environment)],
      ]
        .filter(Boolean)
        .map(([title, value]) => div({ key: title }, dt(title), dd(value))),
    ),
    environment.versions.length
      ? versions(environment)
      : empty(
          container
            ? "Not packed yet: nodes cannot fetch it."
            : Object.keys(environment.nodes).length
              ? "No version of it is kept: only the nodes that have it can run tasks in it."
              : "Tasks wait for it, and nobody has it.",
        ),
  );
}

function nodesOf(environment) {
  const names = Object.keys(environment.nodes).sort();
  if (!names.length) return "none yet; they fetch it when a task needs it";
  const kind = (name) =>
    environment.nodes[name].newest
      ? ["is-online", "newest"]
      : environment.versions.length
        ? ["is-drained", "older"]
        : ["", "has it"];
  return ul(
    { class: "chips" },
    names.map((name) => li({ key: name, class: ["badge", kind(name)[0]] }, `${name}: ${kind(name)[1]}`)),
  );
}

// Those that can be worked with come before what merely lies on nodes.
const weight = (environment) => (environment.container || environment.versions.length ? 0 : 1);

const versions = (environment) =>
  scroll(
    `Versions of ${environment.name}`,
    table(
      { class: "rows" },
      thead(tr(th("Version of"), th("Size"), th("By"), th("Image"), th(span({ class: "offscreen" }, "What to do")))),
      tbody(
        environment.versions.map((version, at) =>
          tr(
            { key: version.timestamp },
            td(wholeTime(version.created_at), " ", at === 0 ? span({ class: "badge is-online" }, "newest") : null),
            td({ class: "num" }, bytes(version.size_bytes)),
            td(version.created_by ?? "–"),
            td(code(version.image_id.replace("sha256:", "").slice(0, 12))),
            td(
              { class: "acts" },
              act("Delete", () => deleteVersion(environment, version), { kind: "small danger quiet" }),
            ),
          ),
        ),
      ),
    ),
  );

async function deleteContainer({ name, versions: packed }) {
  const sure = await ask({
    title: `Delete the container of ${name}?`,
    yes: "Delete",
    text: packed.length
      ? "What was done in it since it was packed last is lost. Its versions stay, and tasks run in them as before."
      : "It was never packed: all that was done in it is lost.",
  });
  return sure && attempt(() => post(path("delete", name)));
}

async function deleteVersion({ name, versions: all }, version) {
  const sure = await ask({
    title: `Delete this version of ${name}?`,
    yes: "Delete",
    text:
      all.length === 1
        ? "It is the only one: nodes that do not have it yet cannot run tasks in it any more."
        : "Nodes that have it keep it until they fetch another.",
  });
  return sure && attempt(() => post(`/docker/delete_tar/${encodeURIComponent(name)}`, { version: version.timestamp }));
}
