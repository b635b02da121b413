// The frame of the page: who is logged in, where one is, and whether the host is heard.
import { computed, createApp, onMounted, ref, watch } from "./vendor/vue.js";
import { lookAtSession, post, rememberUser, session } from "./api.js";
import {
  a,
  aside,
  button,
  div,
  footer,
  header,
  h1,
  input,
  label,
  main,
  nav,
  option,
  p,
  select,
  span,
  use,
} from "./dom.js";
import { close, connect, live, retryNow } from "./live.js";
import { attempt, Messages, Question } from "./parts.js";
import { route } from "./router.js";
import { choose, theme } from "./theme.js";
import { Environments } from "./pages/environments.js";
import { Login } from "./pages/login.js";
import { Node } from "./pages/node.js";
import { Nodes } from "./pages/nodes.js";
import { Overview } from "./pages/overview.js";
import { Shell } from "./pages/shell.js";
import { Submit } from "./pages/submit.js";
import { Task } from "./pages/task.js";
import { Tasks } from "./pages/tasks.js";

const SECTIONS = [
  ["", "Overview", "M4 13h7V4H4zm9 7h7v-9h-7zM4 20h7v-5H4zm9-11h7V4h-7z"],
  ["nodes", "Nodes", "M4 5h16v5H4zm0 9h16v5H4zM7 7.5h.01M7 16.500h.01"],
  ["tasks", "Tasks", "M5 6h14M5 12h14M5 18h9"],
  ["environments", "Environments", "M12 3l8 4.500v9L12 21l-8-4.500v-9zM4 7.500l8 4.500 8-4.500M12 12v9"],
];
// By the words of the path; a word that begins with ":" stands for any, and is given to the page.
const PAGES = [
  [[], Overview, "Overview"],
  [["nodes"], Nodes, "Nodes"],
  [["nodes", ":name"], Node, "Node"],
  [["tasks"], Tasks, "Tasks"],
  [["tasks", ":id"], Task, "Task"],
  [["tasks", ":id", "shell"], Shell, "Shell"],
  [["submit"], Submit, "New task"],
  [["environments"], Environments, "Environments"],
  [["environments", ":name", "shell"], Shell, "Shell"],
];

function find(path) {
  for (const [pattern, page, title] of PAGES) {
    if (pattern.length !== path.length) continue;
    if (!pattern.every((word, at) => word.startsWith(":") || word === path[at])) continue;
    const given = pattern.flatMap((word, at) => (word.startsWith(":") ? [[word.slice(1), path[at]]] : []));
    return { page, title: given.length ? `${title} ${given[0][1]}` : title, props: Object.fromEntries(given) };
  }
  return { page: Missing, title: "Not found", props: {} };
}

const Missing = {
  setup: () => () => div({ class: "card" }, p("There is no such page."), p(a({ href: "#/" }, "To the overview"))),
};

const icon = (path) =>
  span({
    class: "nav-icon",
    "aria-hidden": "true",
    innerHTML: `<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linejoin="round" stroke-linecap="round"><path d="${path}"/></svg>`,
  });

const CONNECTION = { connecting: "Connecting …", live: "Live", broken: "Host not reached, trying again …" };

const Menu = {
  setup() {
    const leave = () =>
      attempt(async () => {
        await post("/logout");
        close();
        await lookAtSession();
      });
    return () =>
      div(
        { class: "settings" },
        label(
          { class: "setting" },
          span("Your name"),
          input({
            class: "small",
            value: session.user,
            placeholder: "nobody",
            maxlength: 60,
            autocomplete: "username",
            title: "Shown with the tasks that you submit, and in the host's log",
            onChange: (event) => rememberUser(event.target.value),
          }),
        ),
        label(
          { class: "setting" },
          span("Colours"),
          select(
            { class: "small", value: theme.choice, onChange: (event) => choose(event.target.value) },
            option({ value: "auto" }, "as the system"),
            option({ value: "light" }, "light"),
            option({ value: "dark" }, "dark"),
          ),
        ),
        session.needsToken ? button({ type: "button", class: "small", onClick: leave }, "Log out") : null,
      );
  },
};

const Outdated = {
  setup: () => () =>
    div(
      { class: "notice outdated", role: "alert" },
      p("The host was updated. This page is still the one from before: what it shows or does may be wrong."),
      button({ type: "button", class: "small", onClick: () => location.reload() }, "Reload the page"),
    ),
};

const Frame = {
  setup() {
    const found = computed(() => find(route.path));
    const heading = ref(null);
    watch(
      () => found.value.title,
      (title, before) => {
        document.title = `${title} · HakuRiver`;
        // Somebody who does not see the page has to be told that it is another one now.
        if (before !== undefined) heading.value?.focus({ preventScroll: true });
      },
      { immediate: true },
    );
    onMounted(connect);
    const links = (kind) =>
      nav(
        { class: kind, "aria-label": "Main" },
        SECTIONS.map(([path, name, drawing]) => {
          const here = (route.path[0] ?? "") === path || (path === "tasks" && route.path[0] === "submit");
          return a({ href: `#/${path}`, "aria-current": here ? "page" : undefined }, icon(drawing), span(name));
        }),
      );
    return () =>
      div(
        { class: "frame" },
        a(
          {
            class: "skip",
            href: "#content",
            onClick: (event) => {
              event.preventDefault();
              heading.value.focus();
            },
          },
          "Skip to the content",
        ),
        aside(
          { class: "side", "aria-label": "Navigation and settings" },
          a({ class: "brand", href: "#/" }, span({ class: "brand-mark", "aria-hidden": "true" }), "HakuRiver"),
          links("side-nav"),
          use(Menu),
          footer(live.version ? `Version ${live.version}` : ""),
        ),
        div(
          { class: "body" },
          header(
            { class: "top" },
            h1({ ref: heading, tabindex: -1 }, found.value.title),
            route.path[0] === "submit" ? null : a({ class: "button main new-task", href: "#/submit" }, "New task"),
            live.state === "broken"
              ? button({ type: "button", class: "connection is-broken", onClick: retryNow }, CONNECTION.broken)
              : span({ class: ["connection", `is-${live.state}`], role: "status" }, CONNECTION[live.state]),
          ),
          main(
            { id: "content", class: { stale: live.state === "broken" } },
            live.outdated ? use(Outdated) : null,
            use(found.value.page, { key: route.path.join("/"), ...found.value.props }),
          ),
        ),
        links("bottom-nav"),
      );
  },
};

const App = {
  setup() {
    const trouble = ref(false);
    const begin = async () => {
      try {
        await lookAtSession();
        trouble.value = false;
      } catch {
        trouble.value = true;
        setTimeout(begin, 2000);
      }
    };
    onMounted(begin);
    watch(
      () => session.loggedIn,
      (inside) => {
        if (!inside) close();
      },
    );
    const shown = () => {
      if (!session.known)
        return p({ class: "starting" }, trouble.value ? "The host does not answer. Trying again …" : "Loading …");
      return session.loggedIn ? use(Frame) : use(Login);
    };
    return () => [shown(), use(Question), use(Messages)];
  },
};

createApp(App).mount("#app");
