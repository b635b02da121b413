// What can be done with a task, wherever it is shown.
import { post } from "./api.js";
import { FINAL, plural } from "./format.js";
import { act, ask, attempt } from "./parts.js";
import { go } from "./router.js";

export async function kill(task) {
  const sure = await ask({
    title: `Kill task ${task.task_id}?`,
    yes: "Kill",
    text:
      task.status === "pending"
        ? "It has not started and never will."
        : task.status === "lost"
          ? "Its node does not answer. It will be killed when the node returns."
          : "It is asked to end, and ended by force if it does not.",
  });
  return sure && attempt(() => post(`/kill/${task.task_id}`));
}

const command = (task, verb) => () => attempt(() => post(`/command/${task.task_id}/${verb}`));

async function requeue(task) {
  const lost = task.status === "lost";
  const sure = await ask({
    title: `Run task ${task.task_id} again?`,
    yes: "Run again",
    danger: lost,
    text: lost
      ? "It may still be running on the node that does not answer. There it is killed when the node returns."
      : "It waits for a node once more, under the same number.",
  });
  return sure && attempt(() => post(`/requeue/${task.task_id}`));
}

async function forget(task) {
  const sure = await ask({
    title: `Give up task ${task.task_id}?`,
    yes: "Give up",
    text: "It counts as failed from now on, and what was reserved for it is free. Do this if its node never comes back.",
  });
  return sure && attempt(() => post(`/forget/${task.task_id}`));
}

// The buttons that make sense for a task in its state; where there is little room, the kill alone.
export function taskButtons(task, { small = false } = {}) {
  const kind = small ? "small" : "";
  const live = !FINAL.has(task.status);
  const buttons = [];
  if (!small) {
    if (task.status === "running") {
      buttons.push(act("Pause", command(task, "pause")));
      buttons.push(act("Shell", () => go(`/tasks/${task.task_id}/shell`)));
    }
    if (task.status === "paused") buttons.push(act("Resume", command(task, "resume"), { kind: "main" }));
    if (task.status === "lost") buttons.push(act("Give up", () => forget(task)));
    if (task.status === "lost" || task.status === "failed") buttons.push(act("Run again", () => requeue(task)));
    buttons.push(act("Resubmit …", () => go(`/submit?like=${task.task_id}`)));
  }
  if (live) {
    const asked = task.wish === "kill";
    buttons.push(
      act(asked ? "Being killed" : "Kill", () => kill(task), {
        kind: `danger quiet ${kind}`,
        disabled: asked && task.status !== "running",
      }),
    );
  }
  return buttons;
}

export async function killBatch(batch) {
  const sure = await ask({
    title: `Kill batch ${batch.batch_id}?`,
    text: `All of its ${plural(batch.total, "task")} that have not ended are killed.`,
    yes: "Kill all",
  });
  return sure && attempt(() => post(`/batch/${batch.batch_id}/kill`));
}

export const retryBatch = (batch) => attempt(() => post(`/batch/${batch.batch_id}/retry`));
