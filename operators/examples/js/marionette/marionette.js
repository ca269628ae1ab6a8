// Write Marionette operators in JavaScript: plain functions, and one line that registers them.
//
//     import { operators, storage } from "./marionette/marionette.js";
//
//     function greet(request) {
//       storage.write("last_greeted", request.input);
//       return `Hello, ${request.input}!`;
//     }
//
//     export const { classes, run } = operators({ GreetOperator: greet });
//
// An operator is given a request (run, stage, task, attempt, input, options, items) and returns text, bytes, an Item, an
// array of these, or nothing. What it throws becomes the task's error: InvalidRequest fails the run at once, a
// StorageError or BlobError says which record or blob, and anything else is the operator's own failure with its stack.
// The contract itself is wit/operator.wit; this module adds no promise to it.

import * as witBlob from "marionette:operator/blob@1.0.0";
import * as witClock from "marionette:operator/clock@1.0.0";
import * as witLogging from "marionette:operator/logging@1.0.0";
import * as witRandom from "marionette:operator/random@1.0.0";
import * as witStorage from "marionette:operator/storage@1.0.0";

const BLOB_READ_BYTES_MAX = 1 << 20;
/** As many arguments as a call takes without harm. */
const CHARACTERS_AT_ONCE = 4096;

/** The operator cannot work on this request, whoever runs it and however often. */
export class InvalidRequest extends Error {
  name = "InvalidRequest";
}

/** A storage call failed. `kind` is the contract's name of the error (`not-found`, `timeout`, …), `detail` what comes
 * with it, or null. */
export class StorageError extends Error {
  name = "StorageError";
  constructor(id, error) {
    super(text(`record "${id}"`, error));
    Object.assign(this, { id, error, kind: error.tag, detail: error.val ?? null });
  }
}

/** An update found another record than it tested for. `found` is that record, null when there is none. */
export class Mismatch extends Error {
  name = "Mismatch";
  constructor(id, found) {
    super(found === null ? `record "${id}" does not exist` : `record "${id}" is not as expected`);
    Object.assign(this, { id, found });
  }
}

/** A blob could not be opened or read. `kind` and `detail` as those of a `StorageError`. */
export class BlobError extends Error {
  name = "BlobError";
  constructor(url, error) {
    super(text(`blob "${url}"`, error));
    Object.assign(this, { url, error, kind: error.tag, detail: error.val ?? null });
  }
}

function text(subject, error) {
  const detail = error.val === undefined || error.val === null ? "" : ` (${error.val})`;
  return `${subject}: ${error.tag.replaceAll("-", " ")}${detail}`;
}

/** What flows between stages: a value, and a key for `reduce` stages. */
export class Item {
  constructor(value, key = null) {
    this.value = bytes(value);
    this.key = key;
  }

  /** The value as text. */
  get text() {
    try {
      return decoded(this.value);
    } catch {
      throw new InvalidRequest("an item is not UTF-8 text");
    }
  }
}

/** One version of a record. */
export class Record {
  constructor({ version, value }) {
    this.version = version;
    this.value = bytes(value);
  }

  /** The value as text; throws when it is none. */
  get text() {
    return decoded(this.value);
  }
}

/** One attempt at one task. */
class Request {
  constructor(request) {
    Object.assign(this, request);
    this.options = Object.fromEntries(request.options);
    this.items = request.items.map(({ value, key }) => new Item(value, key));
  }

  /** The one item of a plain chain. */
  get item() {
    if (this.items.length !== 1) {
      throw new InvalidRequest(`one item expected of the stage before, found ${this.items.length}`);
    }
    return this.items[0];
  }
}

/** The records of the cluster, as this run sees them. Values are bytes, or text for its UTF-8. */
export const storage = {
  /** The record as this run sees it. */
  read: (id) => new Record(stored(id, () => witStorage.read(id))),

  /** Makes `value` the newest version of the record, and returns that version. */
  write: (id, value) => stored(id, () => witStorage.write(id, bytes(value))),

  /** Makes `next` the newest version if the newest value is `old` (null: the record does not exist), and returns that
   * version. Throws `Mismatch` with the record found. */
  updateIfValueIs: (id, old, next) =>
    stored(id, () => witStorage.updateIfValueIs(id, old === null ? null : bytes(old), bytes(next))),

  /** The same with a test of the version (null: the record was never written). */
  updateIfVersionIs: (id, old, next) => stored(id, () => witStorage.updateIfVersionIs(id, old, bytes(next))),
};

function stored(id, call) {
  try {
    return call();
  } catch (thrown) {
    const error = payload(thrown);
    if (error.tag === "mismatch") throw new Mismatch(id, error.val ? new Record(error.val) : null);
    throw new StorageError(id, error.tag === "storage" ? error.val : error);
  }
}

/** Large data outside of the storage, by URL: what the application grants. */
export const blob = {
  /** How many bytes the blob has. */
  size: (url) => granted(url, () => witBlob.size(url)),

  /** Yields `length` bytes (null: all) from `offset` on, in pieces of at most `bytesMax`. */
  *chunks(url, offset = 0, length = null, bytesMax = BLOB_READ_BYTES_MAX) {
    const reader = granted(url, () => witBlob.open(url, offset, length));
    try {
      for (;;) {
        const piece = granted(url, () => reader.read(bytesMax));
        if (piece.length === 0) return;
        yield piece;
      }
    } finally {
      reader[Symbol.dispose]();
    }
  },
};

// The contract's error in what a call of it throws.
function payload(thrown) {
  if (thrown?.payload?.tag === undefined) throw thrown;
  return thrown.payload;
}

function granted(url, call) {
  try {
    return call();
  } catch (thrown) {
    throw new BlobError(url, payload(thrown));
  }
}

/** Lines for the author of the operator; they have no effect on the run. */
export const log = {
  debug: (message) => witLogging.log("debug", String(message)),
  info: (message) => witLogging.log("info", String(message)),
  warn: (message) => witLogging.log("warn", String(message)),
  error: (message) => witLogging.log("error", String(message)),
};

/** When the run was submitted, in milliseconds since 1970; the same in all its tasks and attempts. */
export const nowMs = () => Number(witClock.now());

/** The next bytes of the task's own sequence, which every attempt begins anew; at most 65,536 at once. */
export const randomBytes = (count) => bytes(witRandom.bytes(count));

/** The UTF-8 of a text, or the bytes that were given. QuickJS has no TextEncoder. */
export function bytes(value) {
  if (typeof value !== "string") return Uint8Array.from(value);
  return Uint8Array.from(unescape(encodeURIComponent(value)), (character) => character.charCodeAt(0));
}

/** The text of UTF-8; throws when it is none. */
export function decoded(utf8) {
  let characters = "";
  for (let at = 0; at < utf8.length; at += CHARACTERS_AT_ONCE) {
    characters += String.fromCharCode(...utf8.subarray(at, at + CHARACTERS_AT_ONCE));
  }
  return decodeURIComponent(escape(characters));
}

// What the language has of its own would not be the same in a repeat.
Math.random = () => randomBytes(6).reduce((sum, byte) => (sum + byte) / 256, 0);
Date.now = nowMs;

/** What the component exports, for operators by their class names. */
export function operators(byClass) {
  return {
    classes: () => Object.keys(byClass),
    run(className, request) {
      if (!Object.hasOwn(byClass, className)) throw { tag: "unknown-class" };
      try {
        return items(byClass[className](new Request(request)));
      } catch (thrown) {
        throw failure(thrown);
      }
    },
  };
}

function items(returned) {
  const many = Array.isArray(returned) ? returned : returned === undefined || returned === null ? [] : [returned];
  return many.map((one) => (one instanceof Item ? one : new Item(one))).map(({ key, value }) => ({ key, value }));
}

function failure(thrown) {
  if (thrown instanceof InvalidRequest) return { tag: "invalid-request", val: thrown.message };
  if (thrown instanceof StorageError) return { tag: "storage", val: { id: thrown.id, error: thrown.error } };
  if (thrown instanceof BlobError) return { tag: "blob", val: { url: thrown.url, error: thrown.error } };
  if (!(thrown instanceof Error)) return { tag: "failed", val: `thrown: ${String(thrown)}` };
  return { tag: "failed", val: `${thrown.name}: ${thrown.message}\n${thrown.stack}`.trimEnd() };
}
