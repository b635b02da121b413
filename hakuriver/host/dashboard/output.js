// The output of a task: followed as it grows, walked through however large it is, searched to its end.
import { nextTick, onBeforeUnmount, onMounted, reactive, ref, watch } from "./vendor/vue.js";
import { getRaw, query } from "./api.js";
import { a, button, div, form, input, label, span } from "./dom.js";
import { bytes } from "./format.js";
import { LogView, splitLines } from "./log-view.js";
import { card, failureBox } from "./parts.js";

const TAIL = 500;
const STEP = 256 << 10;
const SEARCH_STEP = 1 << 20;
const NEAR = 400;
const WAIT = 20;
const RETRY = 2000;
const NEWLINE = 10;

const pause = (milliseconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });

export const Output = {
  props: { task: Object },
  setup(props) {
    const pane = ref(null);
    const lines = ref(null);
    const stream = ref("stdout");
    const state = reactive({
      size: 0,
      final: false,
      follow: true,
      wrap: localStorage.getItem("hakuriver.wrap") !== "no",
      failure: null,
      loaded: false,
      empty: true,
      start: 0,
      end: 0,
      search: "",
      searching: null,
      found: "",
    });
    let view = null;
    let stop = new AbortController();
    let filling = false;
    let hits = [];

    const piece = async (fields, signal) => {
      const response = await getRaw(`/task/${props.task.task_id}/${stream.value}${query(fields)}`, signal);
      const body = new Uint8Array(await response.arrayBuffer());
      state.size = Number(response.headers.get("X-Hakuriver-Size"));
      state.final = response.headers.get("X-Hakuriver-Final") === "1";
      return { body, offset: Number(response.headers.get("X-Hakuriver-Offset")) };
    };
    const show = () => {
      Object.assign(state, { start: view.start, end: view.end, empty: view.empty, loaded: true });
    };
    const toEnd = () => {
      if (state.follow && pane.value) pane.value.scrollTop = pane.value.scrollHeight;
    };

    // Begins anew with the last lines, and goes on as the file grows, until the task is over.
    const follow = async () => {
      stop.abort();
      if (document.hidden) return;
      stop = new AbortController();
      const { signal } = stop;
      let fields = { tail: TAIL };
      state.failure = null;
      while (!signal.aborted) {
        try {
          const { body, offset } = await piece(fields, signal);
          if (fields.tail) view.clear(offset);
          view.append(body);
          show();
          await nextTick();
          toEnd();
          state.failure = null;
          if (state.final && view.end >= state.size) return;
          fields = { offset: view.end, limit: STEP, wait: WAIT };
        } catch (error) {
          if (signal.aborted) return;
          state.failure = error;
          if (error.status && error.status < 500) return;
          await pause(RETRY, signal);
          // Not for news this time, but to know that the host answers.
          delete fields.wait;
        }
      }
    };

    const stopFollowing = () => {
      stop.abort();
      stop = new AbortController();
      state.follow = false;
    };
    const startFollowing = () => {
      state.follow = true;
      follow();
    };

    // Nor does it take a connection while nobody looks: see live.js.
    const looked = () => {
      if (!state.follow || state.final) return;
      if (document.hidden) stop.abort();
      else follow();
    };

    // The window around an offset; the place itself is at its top, or marked.
    const jump = async (offset, mark) => {
      stopFollowing();
      const from = Math.max(offset - (mark === undefined ? 0 : STEP / 8), 0);
      try {
        let { body, offset: at } = await piece({ offset: from, limit: STEP }, stop.signal);
        if (from > 0) [body, at] = fromWholeLine(body, at);
        view.clear(at);
        view.append(body);
        show();
        await nextTick();
        if (mark === undefined) pane.value.scrollTop = 0;
        else view.mark(mark);
        state.failure = null;
      } catch (error) {
        if (error.name !== "AbortError") state.failure = error;
      }
    };

    // What is missing at an edge that is near; once more if it is still near then.
    const fill = async () => {
      const box = pane.value;
      if (filling || !box || !state.loaded) return;
      filling = true;
      try {
        let before = null;
        while (before !== `${view.start} ${view.end}`) {
          before = `${view.start} ${view.end}`;
          if (box.scrollTop < NEAR && view.start > 0) await earlier(box);
          else if (
            !state.follow &&
            box.scrollHeight - box.scrollTop - box.clientHeight < NEAR &&
            view.end < state.size
          ) {
            const { body } = await piece({ offset: view.end, limit: STEP }, stop.signal);
            holding(box, lines.value.lastElementChild, () => view.append(body));
            show();
          }
        }
      } catch (error) {
        if (error.name !== "AbortError") state.failure = error;
      } finally {
        filling = false;
      }
    };
    const earlier = async (box) => {
      const until = view.start;
      const from = Math.max(until - STEP / 2, 0);
      let { body, offset } = await piece({ offset: from, limit: until - from }, stop.signal);
      if (view.start !== until) return;
      body = body.subarray(0, until - from);
      if (from > 0) [body, offset] = fromWholeLine(body, offset);
      holding(box, lines.value.firstElementChild, () => view.prepend(body, offset));
      show();
    };

    const scrolled = () => {
      const box = pane.value;
      if (!box) return; // Told once more while the page is being left.
      const away = box.scrollHeight - box.scrollTop - box.clientHeight;
      if (state.follow && away > 40 && box.scrollTop < lastTop - 4) stopFollowing();
      lastTop = box.scrollTop;
      fill();
    };
    let lastTop = 0;
    // How high lines are the browser knows once they are seen: the end may have moved then.
    const grown = new ResizeObserver(toEnd);

    // From the last hit on to the end of the file, in steps that are not kept; then from its beginning.
    const search = async (event) => {
      event.preventDefault();
      const words = state.search.toLowerCase();
      if (!words) return;
      state.searching?.abort();
      const mine = (state.searching = new AbortController());
      const begin = hits.length ? hits.at(-1).next : 0;
      try {
        let found = await find(words, begin, state.size, mine.signal);
        if (found === null && begin > 0) found = await find(words, 0, begin, mine.signal);
        state.found = found === null ? "Not found." : "";
        if (found !== null) {
          hits.push(found);
          if (!view.mark(found.at)) await jump(found.at, found.at);
          else stopFollowing();
        }
      } catch (error) {
        if (error.name === "AbortError") state.found = "";
        else state.failure = error;
      } finally {
        if (state.searching === mine) state.searching = null;
      }
    };
    const find = async (words, begin, end, signal) => {
      const decoder = new TextDecoder();
      let at = begin;
      while (at < end) {
        state.found = `Searching, ${Math.round((100 * at) / Math.max(state.size, 1))} % …`;
        const { body } = await piece({ offset: at, limit: SEARCH_STEP }, signal);
        if (!body.length) return null;
        const { lines: known, rest } = splitLines(body);
        const all =
          rest < body.length && (at + body.length >= state.size || !known.length)
            ? [...known, { begin: rest, end: body.length, next: body.length }]
            : known;
        for (const line of all) {
          const text = decoder.decode(body.subarray(line.begin, line.end)).replace(/\x1b\[[0-?]*[ -/]*[@-~]/g, "");
          if (text.toLowerCase().includes(words)) return { at: at + line.begin, next: at + line.next };
        }
        at += all.length && rest ? (all.length > known.length ? body.length : rest) : body.length;
      }
      return null;
    };
    const back = () => {
      hits.pop();
      const last = hits.at(-1);
      if (last && !view.mark(last.at)) jump(last.at, last.at);
    };

    watch(stream, () => {
      hits = [];
      state.loaded = false;
      state.found = "";
      view.clear(0);
      startFollowing();
    });
    watch(
      () => state.search,
      () => {
        hits = [];
        state.found = "";
      },
    );
    watch(
      () => state.wrap,
      (wrap) => localStorage.setItem("hakuriver.wrap", wrap ? "yes" : "no"),
    );
    // The end of the task is the end of its output: whoever follows has to look once more.
    onMounted(() => {
      view = new LogView(lines.value);
      grown.observe(lines.value);
      document.addEventListener("visibilitychange", looked);
      startFollowing();
    });
    onBeforeUnmount(() => {
      grown.disconnect();
      document.removeEventListener("visibilitychange", looked);
      stop.abort();
      state.searching?.abort();
    });

    const tab = (name) =>
      button(
        {
          type: "button",
          role: "tab",
          id: `tab-${name}`,
          "aria-controls": "output",
          "aria-selected": stream.value === name,
          onClick: () => {
            stream.value = name;
          },
        },
        name,
      );
    const file = () => `/task/${props.task.task_id}/${stream.value}`;
    const bar = () =>
      div(
        { class: "output-bar" },
        div({ class: "choices", role: "tablist", "aria-label": "Which output" }, tab("stdout"), tab("stderr")),
        form(
          { class: "search", role: "search", onSubmit: search },
          input({
            type: "search",
            class: "small",
            placeholder: "Search the output",
            "aria-label": "Search the output",
            value: state.search,
            onInput: (event) => {
              state.search = event.target.value;
            },
          }),
          state.searching
            ? button({ type: "button", class: "small", onClick: () => state.searching?.abort() }, "Stop")
            : button({ type: "submit", class: "small", disabled: !state.search }, "Next"),
          button({ type: "button", class: "small", disabled: hits.length < 2, onClick: back }, "Previous"),
          span({ class: "found", role: "status" }, state.found),
        ),
        div(
          { class: "buttons" },
          label(
            { class: "check" },
            input({
              type: "checkbox",
              checked: state.follow,
              onChange: (event) => (event.target.checked ? startFollowing() : stopFollowing()),
            }),
            "Follow",
          ),
          label(
            { class: "check" },
            input({
              type: "checkbox",
              checked: state.wrap,
              onChange: (event) => {
                state.wrap = event.target.checked;
              },
            }),
            "Wrap lines",
          ),
          button({ type: "button", class: "small", disabled: !state.size, onClick: () => jump(0) }, "Start"),
          button({ type: "button", class: "small", disabled: !state.size, onClick: startFollowing }, "End"),
          state.size
            ? a(
                { class: "button small", href: file(), download: `task-${props.task.task_id}.${stream.value}.txt` },
                "Download",
              )
            : null,
        ),
      );
    const words = () => {
      if (!state.loaded) return "Loading …";
      if (!state.size)
        return state.final ? `The task wrote nothing to ${stream.value}.` : `Nothing on ${stream.value} so far.`;
      const shown =
        state.start > 0 || state.end < state.size ? `, of which ${bytes(state.end - state.start)} are shown` : "";
      return `${bytes(state.size)}${shown}${state.final ? "" : state.follow ? ", following" : ""}`;
    };
    return () =>
      card(
        "Output",
        span({ class: "output-size" }, words()),
        bar(),
        failureBox(state.failure, () => startFollowing()),
        div(
          {
            ref: pane,
            id: "output",
            class: ["log", { wrap: state.wrap, "is-empty": state.empty }],
            role: "tabpanel",
            tabindex: 0,
            "aria-labelledby": `tab-${stream.value}`,
            onScroll: scrolled,
          },
          div({ ref: lines, class: "log-lines" }),
        ),
      );
  },
};

// Change what a box holds, and keep a part of it where it is seen.
function holding(box, part, change) {
  const before = part?.getBoundingClientRect().top;
  change();
  if (part?.isConnected) box.scrollTop += part.getBoundingClientRect().top - before;
}

// Without the piece of a line that some bytes begin with.
function fromWholeLine(body, offset) {
  const first = body.indexOf(NEWLINE);
  return first < 0 ? [body, offset] : [body.subarray(first + 1), offset + first + 1];
}
