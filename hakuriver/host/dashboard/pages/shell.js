// A shell in the page: in an environment's container, or beside a running task.
import { computed, ref } from "../vendor/vue.js";
import { button, div, p, small, span, use } from "../dom.js";
import { link } from "../parts.js";
import { Terminal } from "../terminal.js";

const WORDS = {
  connecting: "Connecting …",
  open: "Connected",
  broken: "Connection lost, coming back …",
  ended: "The shell has ended",
  gone: "The shell is gone",
};

export const Shell = {
  props: { name: String, id: String },
  setup(props) {
    const state = ref("connecting");
    const round = ref(0);
    const head = ref(null);
    const path = computed(() =>
      props.id
        ? `/task/${encodeURIComponent(props.id)}/terminal`
        : `/docker/host/containers/${encodeURIComponent(props.name)}/terminal`,
    );
    const over = computed(() => state.value === "ended" || state.value === "gone");
    return () =>
      div(
        { class: "stack shell-page" },
        div(
          { ref: head, class: "shell-head", tabindex: -1 },
          p(
            props.id
              ? ["Beside task ", link(`/tasks/${props.id}`, props.id)]
              : ["In the container of ", link("/environments", props.name)],
          ),
          span(
            {
              class: ["badge", state.value === "open" ? "is-online" : over.value ? "is-offline-quiet" : "is-drained"],
              role: "status",
            },
            WORDS[state.value],
          ),
          over.value
            ? button(
                {
                  type: "button",
                  class: "main small",
                  onClick: () => {
                    round.value += 1;
                  },
                },
                "New shell",
              )
            : null,
        ),
        use(Terminal, {
          key: round.value,
          path: path.value,
          onState: (value) => {
            state.value = value;
          },
          onLeave: () => head.value.focus(),
        }),
        small(
          { class: "hint" },
          props.id
            ? "It lives as long as the task. Leaving this page ends the shell, not the task."
            : "Leaving this page ends the shell, not the container. Pack the environment when it is as you want it.",
          " Ctrl-Shift-C copies, Ctrl-Shift-V pastes, Ctrl-Shift-L leaves the terminal, where Tab is the shell's.",
        ),
      );
  },
};
