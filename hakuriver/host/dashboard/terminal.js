// xterm.js over the host's WebSocket. A connection that breaks is made again, and goes on where it was.
import { onBeforeUnmount, onMounted, ref, watch } from "./vendor/vue.js";
import { FitAddon } from "./vendor/addon-fit.js";
import { Terminal as Screen } from "./vendor/xterm.js";
import { query } from "./api.js";
import { div } from "./dom.js";
import { copy } from "./parts.js";
import { theme } from "./theme.js";

const FIRST_PAUSE = 300;
const LONGEST_PAUSE = 5000;
// The host keeps the shell for two minutes: later tries can only fail.
const GIVE_UP = 125_000;

const COLOURS = {
  true: {
    background: "#0d161b",
    foreground: "#dce7ea",
    cursor: "#7fd4e8",
    selectionBackground: "#2c5261",
  },
  false: {
    background: "#fbfdfd",
    foreground: "#16262c",
    cursor: "#0b6e8a",
    selectionBackground: "#b9dde6",
    black: "#16262c",
    red: "#b3261e",
    green: "#1b6b3a",
    yellow: "#7a5500",
    blue: "#1d5fa8",
    magenta: "#84329b",
    cyan: "#0b6e7a",
    white: "#5a6b70",
    brightBlack: "#55666c",
    brightRed: "#b3261e",
    brightGreen: "#1b6b3a",
    brightYellow: "#7a5500",
    brightBlue: "#1d5fa8",
    brightMagenta: "#84329b",
    brightCyan: "#0b6e7a",
    brightWhite: "#16262c",
  },
};

export const Terminal = {
  props: { path: String },
  emits: ["state", "leave"],
  setup(props, { emit }) {
    const place = ref(null);
    let screen = null;
    let fit = null;
    let socket = null;
    let session = "";
    let position = 0;
    let ended = false;
    let timer = null;
    let pause = FIRST_PAUSE;
    let brokenAt = 0;
    let observer = null;

    const send = (message) => {
      if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
    };
    const size = () => ({ rows: screen.rows, cols: screen.cols });
    const say = (text) => screen.write(`\r\n\x1b[3m${text}\x1b[0m\r\n`);

    const end = (state, text) => {
      if (ended) return;
      ended = true;
      clearTimeout(timer);
      screen.options.cursorBlink = false;
      screen.options.disableStdin = true;
      if (text) say(text);
      emit("state", state);
    };

    const MESSAGES = {
      session(message) {
        session = message.session;
        position = message.at;
      },
      output(message) {
        if (message.at !== undefined) position = message.at;
        screen.write(message.data);
      },
      error(message) {
        end("ended", message.data);
      },
      notice(message) {
        say(message.data);
      },
      gone() {
        end("gone", "This shell is gone: the host has restarted, or it was left alone for too long.");
      },
    };

    const open = () => {
      const base = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${props.path}`;
      const fields = session ? { resume: session, at: position } : { keep: 1, ...size() };
      socket = new WebSocket(base + query(fields));
      const mine = socket;
      socket.addEventListener("open", () => {
        pause = FIRST_PAUSE;
        brokenAt = 0;
        send({ type: "resize", ...size() });
        if (!ended) emit("state", "open");
      });
      socket.addEventListener("message", (event) => {
        const message = JSON.parse(event.data);
        MESSAGES[message.type]?.(message);
      });
      socket.addEventListener("close", (event) => {
        if (mine !== socket || ended) return;
        // A shell that ended says so with the code of its end; everything else is the network's doing.
        if (event.code === 1000)
          end("ended", event.reason ? `The shell has ended: ${event.reason}.` : "The shell has ended.");
        else if (event.code === 1008 || event.code === 1011) end("ended", event.reason);
        else again();
      });
    };
    const again = () => {
      clearTimeout(timer);
      brokenAt ||= Date.now();
      if (Date.now() - brokenAt > GIVE_UP) {
        end("gone", "The host does not answer.");
        return;
      }
      emit("state", "broken");
      timer = setTimeout(open, pause);
      pause = Math.min(pause * 1.7, LONGEST_PAUSE);
    };

    // The browser knows sooner than the connection that the network is gone.
    const cut = () => {
      if (ended || !socket) return;
      const left = socket;
      socket = null;
      left.close();
      again();
    };

    const KEYS = {
      KeyC() {
        if (screen.hasSelection()) copy(screen.getSelection()).then(() => screen.focus());
      },
      // Tab is the shell's, so there has to be another way out for who has no mouse.
      KeyL: () => emit("leave"),
    };
    // Of a shell that is over all other keys are the page's again.
    const keys = (event) => {
      if (event.type !== "keydown" || !event.ctrlKey || !event.shiftKey || !(event.code in KEYS)) return !ended;
      event.preventDefault();
      KEYS[event.code]();
      return false;
    };

    onMounted(() => {
      screen = new Screen({
        cursorBlink: true,
        fontSize: 14,
        fontFamily: "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace",
        scrollback: 10000,
        theme: COLOURS[theme.dark],
        minimumContrastRatio: 4.5,
        screenReaderMode: false,
        allowProposedApi: false,
      });
      fit = new FitAddon();
      screen.loadAddon(fit);
      screen.open(place.value);
      fit.fit();
      screen.attachCustomKeyEventHandler(keys);
      screen.onData((data) => send({ type: "input", data }));
      screen.onBinary((data) => send({ type: "input", data }));
      screen.onResize(() => send({ type: "resize", ...size() }));
      observer = new ResizeObserver(() => fit.fit());
      observer.observe(place.value);
      emit("state", "connecting");
      window.addEventListener("offline", cut);
      open();
      screen.focus();
    });
    watch(
      () => theme.dark,
      (dark) => {
        screen.options.theme = COLOURS[dark];
      },
    );
    onBeforeUnmount(() => {
      ended = true;
      clearTimeout(timer);
      observer?.disconnect();
      window.removeEventListener("offline", cut);
      send({ type: "close" });
      socket?.close();
      screen?.dispose();
    });
    return () => div({ class: "terminal-box" }, div({ ref: place, class: "terminal" }));
  },
};
