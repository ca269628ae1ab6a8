// From the contract's calls to plain functions, and from the C library's to the contract.

#include "marionette.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const marionette_operator_t marionette_operators[];
extern const size_t marionette_operators_count;

// An instance without memory can do nothing but end.
static void *allocated(void *memory) {
    if (memory == NULL) abort();
    return memory;
}

static char *copy(const void *bytes, size_t count) {
    char *text = allocated(malloc(count + 1));
    memcpy(text, bytes, count);
    text[count] = '\0';
    return text;
}

static char *format_arguments(const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0) abort();
    char *text = allocated(malloc((size_t)length + 1));
    vsnprintf(text, (size_t)length + 1, format, arguments);
    return text;
}

// `text` becomes what the format and the arguments behind it say.
#define FORMAT(text, format)                        \
    va_list arguments;                              \
    va_start(arguments, format);                    \
    char *text = format_arguments(format, arguments); \
    va_end(arguments)

char *marionette_format(const char *format, ...) {
    FORMAT(text, format);
    return text;
}

operator_string_t marionette_string(const char *text) {
    return (operator_string_t){(uint8_t *)text, strlen(text)};
}

operator_list_u8_t marionette_bytes(const char *text) {
    return (operator_list_u8_t){(uint8_t *)text, strlen(text)};
}

char *marionette_text(const operator_string_t *string) {
    return copy(string->ptr, string->len);
}

char *marionette_text_of(const operator_list_u8_t *bytes) {
    return copy(bytes->ptr, bytes->len);
}

const char *marionette_option(const marionette_task_t *task, const char *name) {
    const operator_list_tuple2_string_string_t *options = &task->request->options;
    for (size_t i = 0; i < options->len; i++) {
        const operator_string_t *given = &options->ptr[i].f0;
        if (given->len == strlen(name) && memcmp(given->ptr, name, given->len) == 0) {
            return marionette_text(&options->ptr[i].f1);
        }
    }
    return NULL;
}

void marionette_log(logging_level_t level, const char *format, ...) {
    FORMAT(text, format);
    operator_string_t line = marionette_string(text);
    logging_log(level, &line);
    free(text);
}

static operator_string_t owned(const char *text) {
    size_t length = strlen(text);
    return (operator_string_t){(uint8_t *)copy(text, length), length};
}

bool marionette_return_item(marionette_task_t *task, const char *key, const void *value, size_t bytes) {
    operator_list_item_t *items = &task->items;
    items->ptr = allocated(realloc(items->ptr, (items->len + 1) * sizeof *items->ptr));
    operator_item_t *item = &items->ptr[items->len++];
    item->key.is_some = key != NULL;
    if (key != NULL) item->key.val = owned(key);
    item->value = (operator_list_u8_t){(uint8_t *)copy(value, bytes), bytes};
    return true;
}

bool marionette_return(marionette_task_t *task, const char *format, ...) {
    FORMAT(text, format);
    marionette_return_item(task, NULL, text, strlen(text));
    free(text);
    return true;
}

bool marionette_invalid_request(marionette_task_t *task, const char *format, ...) {
    FORMAT(text, format);
    task->error.tag = MARIONETTE_OPERATOR_ERROR_INVALID_REQUEST;
    task->error.val.invalid_request = marionette_string(text);
    return false;
}

bool marionette_failed(marionette_task_t *task, const char *format, ...) {
    FORMAT(text, format);
    task->error.tag = MARIONETTE_OPERATOR_ERROR_FAILED;
    task->error.val.failed = marionette_string(text);
    return false;
}

bool marionette_storage_failed(marionette_task_t *task, const char *id, storage_storage_error_t error) {
    task->error.tag = MARIONETTE_OPERATOR_ERROR_STORAGE;
    task->error.val.storage = (marionette_storage_failure_t){owned(id), error};
    return false;
}

bool marionette_blob_failed(marionette_task_t *task, const char *url, blob_blob_error_t error) {
    task->error.tag = MARIONETTE_OPERATOR_ERROR_BLOB;
    task->error.val.blob = (marionette_blob_failure_t){owned(url), error};
    return false;
}

// What the component exports.

// The generated source wants an object file with the types of the world; `operator build` adds them by itself.
void __component_type_object_force_link_operator(void) {}

void exports_operator_classes(operator_list_string_t *classes) {
    classes->len = marionette_operators_count;
    classes->ptr = allocated(malloc(classes->len * sizeof *classes->ptr));
    for (size_t i = 0; i < classes->len; i++) classes->ptr[i] = owned(marionette_operators[i].class_name);
}

bool exports_operator_run(operator_string_t *class_name, operator_request_t *request, operator_list_item_t *items,
                          operator_operator_error_t *error) {
    for (size_t i = 0; i < marionette_operators_count; i++) {
        const marionette_operator_t *known = &marionette_operators[i];
        if (strlen(known->class_name) != class_name->len) continue;
        if (memcmp(known->class_name, class_name->ptr, class_name->len) != 0) continue;
        marionette_task_t task = {.request = request};
        bool succeeded = known->function(&task);
        *items = task.items;
        *error = task.error;
        return succeeded;
    }
    error->tag = MARIONETTE_OPERATOR_ERROR_UNKNOWN_CLASS;
    return false;
}

// What the C library asks of a system, answered by the contract. What is not here is missing when the component is made.

enum { SUCCESS = 0, BAD_DESCRIPTOR = 8, CHARACTER_DEVICE = 2, LINE_BYTES_MAX = 4096 };

// Lines on stdout (descriptor 1) and stderr (2) go to the log.
int32_t __imported_wasi_snapshot_preview1_fd_write(int32_t descriptor, int32_t pieces, int32_t count, int32_t written) {
    static char line[LINE_BYTES_MAX];
    static size_t length = 0;
    const struct piece {
        const char *bytes;
        size_t count;
    } *piece = (const struct piece *)(uintptr_t)pieces;
    size_t total = 0;
    for (int32_t i = 0; i < count; i++) {
        for (size_t at = 0; at < piece[i].count; at++) {
            char byte = piece[i].bytes[at];
            if (byte != '\n') line[length++] = byte;
            if (byte == '\n' || length == LINE_BYTES_MAX) {
                operator_string_t message = {(uint8_t *)line, length};
                logging_log(descriptor == 2 ? MARIONETTE_LEVEL_ERROR : MARIONETTE_LEVEL_INFO, &message);
                length = 0;
            }
        }
        total += piece[i].count;
    }
    *(size_t *)(uintptr_t)written = total;
    return SUCCESS;
}

// A character device: the library then writes each line when it ends.
int32_t __imported_wasi_snapshot_preview1_fd_fdstat_get(int32_t descriptor, int32_t status) {
    if (descriptor > 2) return BAD_DESCRIPTOR;
    uint8_t *bytes = memset((void *)(uintptr_t)status, 0, 24);
    bytes[0] = CHARACTER_DEVICE;
    return SUCCESS;
}

int32_t __imported_wasi_snapshot_preview1_fd_seek(int32_t descriptor, int64_t offset, int32_t whence, int32_t place) {
    return BAD_DESCRIPTOR;
}

int32_t __imported_wasi_snapshot_preview1_fd_close(int32_t descriptor) {
    return BAD_DESCRIPTOR;
}

// All clocks stand at the time when the run was submitted.
int32_t __imported_wasi_snapshot_preview1_clock_time_get(int32_t clock, int64_t precision, int32_t time_ns) {
    *(uint64_t *)(uintptr_t)time_ns = clock_now() * 1000000;
    return SUCCESS;
}

int32_t __imported_wasi_snapshot_preview1_random_get(int32_t buffer, int32_t count) {
    for (int32_t at = 0; at < count; at++) ((uint8_t *)(uintptr_t)buffer)[at] = (uint8_t)random_number();
    return SUCCESS;
}

// There is no environment.
int32_t __imported_wasi_snapshot_preview1_environ_sizes_get(int32_t count, int32_t bytes) {
    *(size_t *)(uintptr_t)count = *(size_t *)(uintptr_t)bytes = 0;
    return SUCCESS;
}

int32_t __imported_wasi_snapshot_preview1_environ_get(int32_t entries, int32_t bytes) {
    return SUCCESS;
}

_Noreturn void __imported_wasi_snapshot_preview1_proc_exit(int32_t status) {
    marionette_log(MARIONETTE_LEVEL_ERROR, "the operator exited with status %d", (int)status);
    __builtin_trap();
}
