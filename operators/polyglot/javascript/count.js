// The second stage: each word once, as the key of how often it came.

import { Item, operators } from "./marionette/marionette.js";

function count(request) {
  const counts = new Map();
  for (const { text } of request.items) {
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return [...counts].map(([word, times]) => new Item(String(times), word));
}

export const { classes, run } = operators({ CountWords: count });
