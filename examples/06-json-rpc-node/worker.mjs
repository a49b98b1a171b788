// A worker: takes jobs with manual acks and a window of 2, replies to each, and acks it after the commit of the reply.
// usage: node worker.mjs SOCKET ADDRESS NAME     ends at the message `no-more`

import { createHash } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { Raven } from "./raven.mjs";

const [socket, address, name] = process.argv.slice(2);
const raven = await Raven.connect(socket);
await raven.call("hello", { as: address }); // from now on the default of `from` and `role`
const say = (text) => console.log(`${name} ${text}`);

async function work({ id, sender, type, body, correlation_id, attempts }) {
  if (type === "job") {
    say(`works on #${id}`);
    // The pauses stand for the waits of a real job: one for the first attempt, one for the second, and so on.
    await pause(body.pauses_ms[Math.min(attempts, body.pauses_ms.length) - 1]);
    const digest = createHash("sha256").update(body.text).digest("hex");
    await raven.call("send", {
      to: sender,
      type: "answer",
      body: { digest, by: name },
      reply_to: id,
      correlation_id,
      dedup_key: `answer-${id}`, // a job that runs twice, because its ack was lost, gets one reply
    });
  }
  await raven.call("ack", { id });
  if (type === "job") say(`answered #${id}`);
  return type !== "no-more";
}

// A window of 2: one job in progress, and the next one already here.
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
