// The two charts that the cluster and each node have: cores and memory.
import { ref } from "./vendor/vue.js";
import { Chart } from "./chart.js";
import { button, div, use } from "./dom.js";
import { bytes, number } from "./format.js";
import { useHistory } from "./history.js";
import { card, failureBox } from "./parts.js";

const RANGES = [
  [1, "1 hour"],
  [6, "6 hours"],
  [24, "24 hours"],
];
const lines = (used) => [
  { name: used, colour: "--chart-use", fill: true },
  { name: "reserved", colour: "--chart-hold" },
  { name: "there", colour: "--muted", dash: true },
];

export const Charts = {
  props: { node: { type: String, default: "" } },
  setup(props) {
    const hours = ref(1);
    const history = useHistory(() => props.node, hours);
    const ranges = () =>
      div(
        { class: "choices", role: "group", "aria-label": "Time shown" },
        RANGES.map(([value, name]) =>
          button(
            {
              type: "button",
              "aria-pressed": hours.value === value,
              onClick: () => {
                hours.value = value;
              },
            },
            name,
          ),
        ),
      );
    const whose = () => (props.node ? `of ${props.node}` : "of the cluster");
    return () =>
      div(
        { class: "grid two" },
        card(
          "Cores",
          ranges(),
          failureBox(history.failure.value),
          use(Chart, {
            lines: lines("busy"),
            data: history.cores.value,
            span: hours.value * 3600,
            max: history.maxCores.value * 1.05,
            show: (value) => number(value, 2),
            label: `Cores ${whose()} that were busy, reserved and there, over time`,
          }),
        ),
        card(
          "Memory",
          null,
          use(Chart, {
            lines: lines("in use"),
            data: history.memory.value,
            span: hours.value * 3600,
            max: history.maxMemory.value * 1.05,
            show: bytes,
            powers: true,
            label: `Memory ${whose()} that was in use, reserved and there, over time`,
          }),
        ),
      );
  },
};
