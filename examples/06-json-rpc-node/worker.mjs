// A worker: takes jobs with manual acks and a window of 2, answers each, and acks it once the answer is committed.
// usage: node worker.mjs SOCKET ADDRESS NAME     leaves at the message `no-more`

import { createHash } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { Raven } from "./raven.mjs";

const [socket, address, name] = process.argv.slice(2);
const raven = await Raven.connect(socket);
await raven.call("hello", { as: address }); // from now on `from` and `role` may be left out
const say = (text) => console.log(`${name} ${text}`);

async function work({ id, sender, type, body, correlation_id, attempts }) {
  if (type === "job") {
    say(`works on #${id}`);
    // The pauses stand for what a real job waits for: one for the first attempt, one for the second, and so on.
    await pause(body.pauses_ms[Math.min(attempts, body.pauses_ms.length) - 1]);
    const digest = createHash("sha256").update(body.text).digest("hex");
    await raven.call("send", {
      to: sender,
      type: "answer",
      body: { digest, by: name },
      reply_to: id,
      correlation_id,
      dedup_key: `answer-${id}`, // a job that is done twice, since its ack was lost, is answered once
    });
  }
  await raven.call("ack", { id });
  if (type === "job") say(`answered #${id}`);
  return type !== "no-more";
}

// One job is in hand, and the next is here already: that is the window of 2.
const queue = [];
let isWorking = false;
let hasFailed = false;

async function workOff() {
  if (isWorking) return;
  isWorking = true;
  while (queue.length > 0) {
    if (!(await work(queue.shift()))) {
      say("leaves");
      raven.end();
      return;
    }
  }
  isWorking = false;
}

function fail(error) {
  console.error(`${name}: ${error.message}`);
  hasFailed = true;
  raven.end();
}

raven.on("message", ({ message }) => {
  say(`holds #${message.id}, attempt ${message.attempts}`);
  queue.push(message);
  workOff().catch(fail);
});
raven.on("end", ({ reason, error }) => fail(new Error(`the subscription ended: ${error?.message ?? reason}`)));
raven.on("close", () => process.exit(hasFailed ? 1 : 0));
await raven.call("subscribe", { ack: "manual", window: 2 });
