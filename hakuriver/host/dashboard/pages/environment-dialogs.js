// What is asked before an environment is made, or brought to nodes.
import { computed, reactive, ref } from "../vendor/vue.js";
import { post, session } from "../api.js";
import { button, div, form, input, label, p, small, span, use } from "../dom.js";
import { plural } from "../format.js";
import { live } from "../live.js";
import { Dialog, empty, failureBox } from "../parts.js";

// For jobs: begun and not waited for, as the page hears of them.
export const withUser = () => ({ wait: false, user: session.user });

export const Create = {
  emits: ["close"],
  setup(_, { emit }) {
    const given = reactive({ image: "", name: "" });
    const failure = ref(null);
    const send = async (event) => {
      event.preventDefault();
      failure.value = null;
      try {
        await post("/docker/host/create", {
          image_name: given.image.trim(),
          container_name: given.name.trim(),
          ...withUser(),
        });
        emit("close");
      } catch (error) {
        failure.value = error;
      }
    };
    return () =>
      use(Dialog, { title: "New environment", onClose: () => emit("close") }, () =>
        form(
          { class: "stack", onSubmit: send },
          failureBox(failure.value),
          label(
            { class: "field" },
            span("Name"),
            input({
              value: given.name,
              required: true,
              pattern: "[a-z0-9]+(?:[._\\-][a-z0-9]+)*",
              autocapitalize: "off",
              placeholder: "my-project",
              onInput: (event) => {
                given.name = event.target.value;
              },
            }),
            small("Lower-case letters and digits, with single dots, dashes or underscores between them."),
          ),
          label(
            { class: "field" },
            span("Image to begin with"),
            input({
              value: given.image,
              required: true,
              autocapitalize: "off",
              placeholder: "python:3.12-slim",
              onInput: (event) => {
                given.image = event.target.value;
              },
            }),
            small("One that the host's Docker has is used as it is; another is fetched, where there is a network."),
          ),
          div(
            { class: "buttons" },
            button({ type: "button", onClick: () => emit("close") }, "Cancel"),
            button({ type: "submit", class: "main" }, "Create"),
          ),
        ),
      );
  },
};

export const Sync = {
  props: { environment: Object },
  emits: ["close"],
  setup(props, { emit }) {
    const chosen = reactive(new Set());
    const failure = ref(null);
    const able = computed(() => Object.values(live.nodes).filter((node) => node.status === "online" && node.docker));
    const send = async (event) => {
      event.preventDefault();
      failure.value = null;
      try {
        await post(`/docker/sync/${encodeURIComponent(props.environment.name)}`, { nodes: [...chosen], ...withUser() });
        emit("close");
      } catch (error) {
        failure.value = error;
      }
    };
    return () =>
      use(Dialog, { title: `Bring ${props.environment.name} to nodes`, onClose: () => emit("close") }, () =>
        form(
          { class: "stack", onSubmit: send },
          p("Nodes fetch the newest version by themselves when a task needs it. This does it now."),
          failureBox(failure.value),
          able.value.length
            ? div(
                { class: "targets" },
                able.value.map((node) => {
                  const here = props.environment.nodes[node.hostname];
                  return label(
                    { key: node.hostname, class: ["target", { chosen: chosen.has(node.hostname) }] },
                    input({
                      type: "checkbox",
                      checked: chosen.has(node.hostname),
                      onChange: (event) =>
                        event.target.checked ? chosen.add(node.hostname) : chosen.delete(node.hostname),
                    }),
                    span(
                      node.hostname,
                      small(here?.newest ? "has the newest" : here ? "has an older one" : "has none"),
                    ),
                  );
                }),
              )
            : empty("No node with Docker is up."),
          div(
            { class: "buttons" },
            button({ type: "button", onClick: () => emit("close") }, "Cancel"),
            button(
              { type: "submit", class: "main", disabled: !able.value.length },
              chosen.size ? `Sync ${plural(chosen.size, "node")}` : "Sync all nodes",
            ),
          ),
        ),
      );
  },
};
