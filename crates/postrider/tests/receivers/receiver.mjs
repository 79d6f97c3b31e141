// A receiver written from docs/WEBHOOKS.md alone, with the Standard Webhooks library: verifies,
// deduplicates, and rebuilds conversations. `GET /threads` tells what it made of it.

import { createServer } from "node:http";
import { createRequire } from "node:module";

// The libraries of the tests lie in a folder of their own.
const { Webhook } = createRequire(process.argv[3])("standardwebhooks");
const webhook = new Webhook(process.argv[2]);
const events = new Map();
let repeats = 0;
let refused = 0;

/** Conversations by thread key; within one, who answers whom. */
function threads() {
  const found = {};
  for (const { data: { message } } of events.values()) {
    const answers = message.in_reply_to ?? message.references.at(-1) ?? null;
    (found[message.thread_key] ??= {})[message.message_id] = answers;
  }
  return found;
}

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    if (request.method === "GET") {
      const state = { threads: threads(), repeats, refused, events: events.size };
      return response.end(JSON.stringify(state));
    }
    let event;
    try {
      event = webhook.verify(Buffer.concat(chunks).toString(), request.headers);
    } catch {
      refused += 1;
      return response.writeHead(401).end();
    }
    const known = events.has(event.id);
    if (known) repeats += 1;
    else events.set(event.id, event);
    // Stored, and then the answer is lost.
    if (!known && events.size % 7 === 0) return request.socket.destroy();
    return response.writeHead(204).end();
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
