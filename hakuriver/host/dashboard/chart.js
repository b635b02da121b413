// A chart over time: uPlot, in the page's own colours, as wide as its place, with its last values in words.
import { onBeforeUnmount, onMounted, ref, watch } from "./vendor/vue.js";
import uPlot from "./vendor/uplot.js";
import { div } from "./dom.js";
import { theme } from "./theme.js";

const HEIGHT = 190;

// Custom properties hold light-dark(), which a canvas does not know: what it comes to, the browser tells.
function resolved(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  probe.style.forcedColorAdjust = "none";
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

const translucent = (rgb) => rgb.replace(/^rgb\(([^)]+)\)$/, "rgba($1, 0.14)");

// lines: [{name, colour (a custom property), fill, dash}]; data: [t, …one list each]; show(value) says a value in words.
export const Chart = {
  props: { lines: Array, data: Array, show: Function, max: Number, label: String, span: Number, powers: Boolean },
  setup(props) {
    const place = ref(null);
    let plot = null;
    let observer = null;

    // at is null while nobody points at the chart: then the last values are told.
    const shown = (index, at) => (at === null ? props.data[index].at(-1) : props.data[index][at]) ?? null;
    const inWords = (value) => (value === null ? "–" : props.show(value));

    const options = () => ({
      width: Math.max(place.value.clientWidth, 120),
      height: HEIGHT,
      padding: [8, 8, 0, 0],
      cursor: { points: { size: 6 }, drag: { x: false, y: false } },
      legend: { live: true },
      scales: {
        // As wide as was asked for, also while little is known: time that was not seen is an empty place.
        // But not wider than three times what is known: a host that has just started has little to show.
        x: {
          range: (_, first) => {
            const now = Date.now() / 1000;
            return [now - Math.min(props.span, Math.max(600, 3 * (now - (first ?? now)))), now];
          },
        },
        y: { range: (_, low, high) => [0, props.max || Math.max(high ?? 1, 0.1) * 1.1] },
      },
      axes: [
        {
          stroke: resolved("--muted"),
          grid: { stroke: resolved("--line"), width: 1 },
          ticks: { show: false },
          font: FONT,
          size: 28,
          values: (_, ticks) => ticks.map((tick) => CLOCK.format(new Date(tick * 1000))),
          space: 70,
        },
        {
          stroke: resolved("--muted"),
          grid: { stroke: resolved("--line"), width: 1 },
          ticks: { show: false },
          font: FONT,
          size: 72,
          incrs: props.powers ? POWERS : undefined,
          values: (_, ticks) => ticks.map((tick) => props.show(tick)),
        },
      ],
      series: [
        { label: "at", value: (_plot, _value, _line, at) => clock(shown(0, at)) },
        ...props.lines.map((line, index) => ({
          label: line.name,
          stroke: resolved(line.colour),
          fill: line.fill ? translucent(resolved(line.colour)) : undefined,
          width: 1.5,
          dash: line.dash ? [5, 4] : undefined,
          points: { show: false },
          spanGaps: false,
          value: (_plot, _value, _line, at) => inWords(shown(index + 1, at)),
        })),
      ],
    });

    const draw = () => {
      plot?.destroy();
      plot = new uPlot(options(), props.data, place.value);
    };

    onMounted(() => {
      draw();
      observer = new ResizeObserver(() =>
        plot.setSize({ width: Math.max(place.value.clientWidth, 120), height: HEIGHT }),
      );
      observer.observe(place.value);
    });
    onBeforeUnmount(() => {
      observer?.disconnect();
      plot?.destroy();
    });
    watch(
      () => props.data,
      (data) => plot?.setData(data),
    );
    watch(() => [theme.dark, props.max, props.span], draw);
    return () => div({ ref: place, class: "chart", role: "img", "aria-label": props.label });
  },
};

const clock = (at) => (at === null ? "–" : CLOCK.format(new Date(at * 1000)));
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });
// Steps between lines of a chart of bytes.
const POWERS = Array.from({ length: 60 }, (_, at) => 2 ** at);
const FONT = "11px system-ui, sans-serif";
