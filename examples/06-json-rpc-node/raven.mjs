// A connection to a raven bus through the socket of its server (`raven serve`): JSON-RPC 2.0, one JSON text per line.
// Node's own modules only; Node 18 or newer.

import { EventEmitter } from "node:events";
import net from "node:net";

export class RavenError extends Error {
  constructor({ code, message, data }) {
    super(message);
    this.code = code;
    this.kind = data?.kind;
    this.retryable = data?.retryable ?? false;
  }
}

// Emits "message" with { subscription, message }, "end" with { subscription, reason, error }, and "close".
export class Raven extends EventEmitter {
  #socket;
  #waiting = new Map();
  #last = 0;
  #partial = "";

  static connect(path) {
    return new Promise((resolve, reject) => {
      const socket = net.createConnection(path);
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(new Raven(socket));
      });
    });
  }

  constructor(socket) {
    super();
    this.#socket = socket;
    socket.setEncoding("utf8"); // also joins characters that two chunks share
    socket.on("data", (text) => this.#take(text));
    socket.on("error", () => {}); // "close" follows
    socket.on("close", () => this.#close());
  }

  // Call a method; resolves to its result, rejects with a RavenError, or with an Error if the connection is lost.
  call(method, params = {}) {
    return new Promise((resolve, reject) => {
      if (!this.#socket.writable) {
        reject(new Error("the connection to the server is closed"));
        return;
      }
      const id = ++this.#last;
      this.#waiting.set(id, { resolve, reject });
      this.#socket.write(JSON.stringify({ jsonrpc: "2.0", id, method, params }) + "\n");
    });
  }

  // End the requests: the server answers the pending ones, and closes.
  end() {
    this.#socket.end();
  }

  #take(text) {
    const lines = (this.#partial + text).split("\n");
    this.#partial = lines.pop();
    for (const line of lines) this.#takeLine(JSON.parse(line));
  }

  #takeLine(shape) {
    if (shape.method) {
      this.emit(shape.method, shape.params);
      return;
    }
    const { resolve, reject } = this.#waiting.get(shape.id) ?? {};
    if (!resolve) {
      // An error without an id: the server refuses this connection, or could not read a line.
      this.#socket.destroy();
      for (const waiting of this.#waiting.values()) waiting.reject(new RavenError(shape.error));
      this.#waiting.clear();
      return;
    }
    this.#waiting.delete(shape.id);
    if (shape.error) reject(new RavenError(shape.error));
    else resolve(shape.result);
  }

  #close() {
    for (const { reject } of this.#waiting.values()) reject(new Error("the connection to the server was lost"));
    this.#waiting.clear();
    this.emit("close");
  }
}
