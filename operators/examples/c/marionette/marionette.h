// Write Marionette operators in C: a plain function, and one line that registers it.
//
//     #include "marionette/marionette.h"
//
//     static bool greet(marionette_task_t *task) {
//         return marionette_return(task, "Hello, %s!", marionette_text(&task->request->input));
//     }
//
//     MARIONETTE_OPERATORS({"GreetOperator", greet})
//
// operator.h has the types and calls of the contract, wit/operator.wit, which it is generated from (storage_read,
// storage_write, storage_update_if_version_is, blob_open, clock_now, random_number, …). Their results are allocated; an
// instance serves one task, unless the application asks for reuse, so that what is not freed ends with the task.
//
// What is printed to stdout or stderr (also by assert) becomes lines of the log. Files, and whatever else a C library
// has that the contract has not, are missing when the component is made.
#ifndef MARIONETTE_H
#define MARIONETTE_H

#include "operator.h"

// One attempt at one task, and what comes of it.
typedef struct marionette_task_t {
    const operator_request_t *request;
    operator_list_item_t items;
    operator_operator_error_t error;
} marionette_task_t;

// An operator: returns true when the items of the task are its answer, false when the error is.
typedef bool (*marionette_function_t)(marionette_task_t *task);

typedef struct marionette_operator_t {
    const char *class_name;
    marionette_function_t function;
} marionette_operator_t;

// Registers the operators of the component, each {"ClassName", function}. Once in a component.
#define MARIONETTE_OPERATORS(...)                                         \
    const marionette_operator_t marionette_operators[] = {__VA_ARGS__};   \
    const size_t marionette_operators_count =                             \
        sizeof marionette_operators / sizeof *marionette_operators;

// Adds an item of text to the answer. Returns true.
__attribute__((format(printf, 2, 3))) bool marionette_return(marionette_task_t *task, const char *format, ...);

// Adds an item, whose key may be NULL, to the answer. Returns true.
bool marionette_return_item(marionette_task_t *task, const char *key, const void *value, size_t bytes);

// The error of an operator that cannot work on this request, whoever runs it and however often. Returns false.
__attribute__((format(printf, 2, 3))) bool marionette_invalid_request(marionette_task_t *task, const char *format, ...);

// The error of an operator that failed for a reason of its own. Returns false.
__attribute__((format(printf, 2, 3))) bool marionette_failed(marionette_task_t *task, const char *format, ...);

// The error of an operator that cannot do without a storage call or a blob that failed. Return false.
bool marionette_storage_failed(marionette_task_t *task, const char *id, storage_storage_error_t error);
bool marionette_blob_failed(marionette_task_t *task, const char *url, blob_blob_error_t error);

// The value of an option of the stage, or NULL.
const char *marionette_option(const marionette_task_t *task, const char *name);

// Writes one line to the log.
__attribute__((format(printf, 2, 3))) void marionette_log(logging_level_t level, const char *format, ...);

// Text for a call of the contract, which does not keep it.
operator_string_t marionette_string(const char *text);
operator_list_u8_t marionette_bytes(const char *text);

// A copy of what a call returned, with a NUL behind.
char *marionette_text(const operator_string_t *string);
char *marionette_text_of(const operator_list_u8_t *bytes);

// As printf, into as much memory as it takes.
__attribute__((format(printf, 1, 2))) char *marionette_format(const char *format, ...);

#endif
