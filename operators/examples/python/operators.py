"""An operator to copy: greets the run's input, and counts in a record how often it did."""

from marionette import InvalidRequest, Mismatch, log, operator, storage


@operator("HelloOperator")
def greet(request):
    """Greets the input and returns the greeting. The record `greeted_INPUT` counts the greetings, also when many
    runs greet at once: each tries again until nobody came between."""
    name = request.input.strip()
    if not name:
        raise InvalidRequest("nobody to greet: the input is empty")
    count = count_one_more(f"greeted_{name}")
    log.info(f"greeting {name}, time {count}")
    return f"Hello, {name}! ({count})"


def count_one_more(id):
    found = None
    while True:
        count = int(found.text) + 1 if found else 1
        try:
            storage.update_if_version_is(id, found and found.version, str(count))
            return count
        except Mismatch as mismatch:
            found = mismatch.found
