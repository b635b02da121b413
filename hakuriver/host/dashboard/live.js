// What the host tells by itself: one stream of events for the whole page, opened again whenever it ends.
// A page that nobody sees has none: browsers open six connections to a host, for all of its pages together.
import { reactive } from "./vendor/vue.js";
import { lookAtSession, session } from "./api.js";

// state: connecting, live, broken. nodes by name. samples: the last points of the charts, cluster's and nodes'.
export const live = reactive({
  state: "connecting",
  version: "",
  outdated: false,
  cluster: "",
  epoch: null,
  nodes: Object.create(null), // A node may be called constructor.
  counts: null,
  waiting: [],
  failures: [],
  jobs: {},
  environments: 0,
  now: Date.now(),
});

const listeners = { tasks: new Set(), counts: new Set(), sample: new Set(), back: new Set() };

// Call `told` with the data of each event of a kind until the function that is returned is called.
// tasks: changed tasks; counts: how many there are, and why they wait; sample: a point of the charts; back: the connection is there again, anything may have changed.
export function listen(kind, told) {
  listeners[kind].add(told);
  return () => listeners[kind].delete(told);
}

const tell = (kind, data) => listeners[kind].forEach((told) => told(data));

const JOBS_KEPT = 30;
const SILENCE = 40_000;
// A connection that is begun and not answered: said to be none after the first, given up after the second.
const SLOW = 2000;
const UNANSWERED = 10_000;
let wanted = false;
let source = null;
let pause = 500;
let timer = null;
let lastHeard = 0;
let clockSkew = 0;
let heardBefore = false;
let build = null;
// What is known stays on the page until the host, heard anew, has told all of it.
let nodesAnew = true;
let jobsAnew = true;

// The host's clock, not the browser's: ages are right though the two differ.
export const hostNow = () => live.now + clockSkew;

export const EVENTS = {
  hello(data) {
    // This page came from the host that was heard first; the one that is heard now may have another one.
    build ??= data.build;
    live.outdated = build !== data.build;
    live.version = data.version;
    live.cluster = data.cluster;
    live.epoch = data.epoch;
    nodesAnew = jobsAnew = true;
    clockSkew = data.now * 1000 - Date.now();
    pause = 500;
    live.state = "live";
    if (heardBefore) tell("back", data);
    heardBefore = true;
  },
  nodes(data) {
    const heard = Date.now();
    const there = new Set(data.nodes.map((node) => node.hostname));
    const gone = nodesAnew ? Object.keys(live.nodes).filter((name) => !there.has(name)) : data.gone;
    nodesAnew = false;
    for (const node of data.nodes) live.nodes[node.hostname] = { ...node, heard };
    for (const name of gone ?? []) delete live.nodes[name];
  },
  counts(data) {
    live.counts = data.by_status;
    live.waiting = data.waiting;
    live.failures = data.failures;
    tell("counts", data);
  },
  tasks: (data) => tell("tasks", data),
  jobs(data) {
    if (jobsAnew) live.jobs = {};
    jobsAnew = false;
    for (const job of data.jobs) live.jobs[job.job_id] = job;
    const ids = Object.keys(live.jobs);
    for (const id of ids.slice(0, Math.max(ids.length - JOBS_KEPT, 0))) delete live.jobs[id];
  },
  environments: () => {
    live.environments += 1;
  },
  sample: (data) => tell("sample", data),
};

export function connect() {
  wanted = true;
  drop();
  if (document.hidden) return;
  source = new EventSource("/events");
  lastHeard = Date.now();
  for (const [kind, act] of Object.entries(EVENTS)) {
    source.addEventListener(kind, (event) => {
      lastHeard = Date.now();
      act(JSON.parse(event.data));
    });
  }
  source.addEventListener("error", lost);
}

export function close() {
  wanted = false;
  drop();
}

function drop() {
  clearTimeout(timer);
  timer = null;
  source?.close();
  source = null;
}

// A browser gives up on an answer that is no stream, such as 503 or a proxy's page: so each try is our own.
function lost() {
  drop();
  live.state = "broken";
  timer = setTimeout(async () => {
    try {
      await lookAtSession(AbortSignal.timeout(UNANSWERED));
    } catch {
      /* the host is away still: the next try tells */
    }
    if (session.loggedIn && wanted) connect();
  }, pause);
  pause = Math.min(pause * 1.6, 5000);
}

export function retryNow() {
  if (wanted && live.state === "broken") {
    pause = 500;
    connect();
  }
}

setInterval(() => {
  live.now = Date.now();
  if (!source) return;
  const silence = Date.now() - lastHeard;
  const open = source.readyState === EventSource.OPEN;
  // A host that was cut off says no goodbye; a living one says something every 15 seconds at the latest.
  if (silence > (open ? SILENCE : UNANSWERED)) lost();
  else if (!open && silence > SLOW && live.state === "live") live.state = "connecting";
}, 1000);

window.addEventListener("online", retryNow);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) drop();
  else if (wanted) connect();
});
