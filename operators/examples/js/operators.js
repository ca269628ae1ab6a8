// An operator to copy: greets the run's input, and counts in a record how often it did.

import { InvalidRequest, Mismatch, log, operators, storage } from "./marionette/marionette.js";

// Greets the input and returns the greeting. The record `greeted_INPUT` counts the greetings, also when many runs
// greet at once: each tries again until nobody came between.
function greet(request) {
  const name = request.input.trim();
  if (name === "") {
    throw new InvalidRequest("nobody to greet: the input is empty");
  }
  const count = countOneMore(`greeted_${name}`);
  log.info(`greeting ${name}, time ${count}`);
  return `Hello, ${name}! (${count})`;
}

function countOneMore(id) {
  let found = null;
  for (;;) {
    const count = found === null ? 1 : Number(found.text) + 1;
    try {
      storage.updateIfVersionIs(id, found?.version ?? null, String(count));
      return count;
    } catch (error) {
      if (!(error instanceof Mismatch)) throw error;
      found = error.found;
    }
  }
}

export const { classes, run } = operators({ HelloOperator: greet });
