// The last stage: a line about the words and their number, which the first stage left in the record `words`.

#include "marionette/marionette.h"

static bool report(marionette_task_t *task) {
    operator_string_t id = marionette_string("words");
    storage_record_t words;
    storage_storage_error_t error;
    if (!storage_read(&id, &words, &error)) {
        return marionette_storage_failed(task, "words", error);
    }
    const char *line = marionette_format("%s words", marionette_text_of(&words.value));
    for (size_t at = 0; at < task->request->items.len; at++) {
        const operator_item_t *item = &task->request->items.ptr[at];
        const char *word = item->key.is_some ? marionette_text(&item->key.val) : "?";
        line = marionette_format("%s, %s %s", line, word, marionette_text_of(&item->value));
    }
    return marionette_return(task, "%s", line);
}

MARIONETTE_OPERATORS({"ReportWords", report})
