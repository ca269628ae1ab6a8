// An operator to copy: greets the run's input, and counts in a record how often it did.

#include "marionette/marionette.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

// Counts in a record, also when many runs count at once: each tries again until nobody came between.
static bool count_one_more(marionette_task_t *task, const char *id, unsigned long *count) {
    operator_string_t record = marionette_string(id);
    marionette_option_record_t found = {.is_some = false};
    for (;;) {
        *count = found.is_some ? strtoul(marionette_text_of(&found.val.value), NULL, 10) + 1 : 1;
        operator_list_u8_t value = marionette_bytes(marionette_format("%lu", *count));
        storage_version_t version;
        storage_update_error_t error;
        if (storage_update_if_version_is(&record, found.is_some ? &found.val.version : NULL, &value, &version, &error)) {
            return true;
        }
        if (error.tag != MARIONETTE_UPDATE_ERROR_MISMATCH) {
            return marionette_storage_failed(task, id, error.val.storage);
        }
        found = error.val.mismatch;
    }
}

static char *trimmed(char *text) {
    while (isspace((unsigned char)*text)) text++;
    size_t length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1])) text[--length] = '\0';
    return text;
}

// Greets the input and returns the greeting. The record `greeted_INPUT` counts the greetings.
static bool greet(marionette_task_t *task) {
    const char *name = trimmed(marionette_text(&task->request->input));
    if (*name == '\0') {
        return marionette_invalid_request(task, "nobody to greet: the input is empty");
    }
    unsigned long count;
    if (!count_one_more(task, marionette_format("greeted_%s", name), &count)) {
        return false;
    }
    marionette_log(MARIONETTE_LEVEL_INFO, "greeting %s, time %lu", name, count);
    return marionette_return(task, "Hello, %s! (%lu)", name, count);
}

MARIONETTE_OPERATORS({"HelloOperator", greet})
