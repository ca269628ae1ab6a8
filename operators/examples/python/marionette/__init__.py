"""Write Marionette operators in Python: a plain function, and one line that registers it.

    from marionette import operator, storage

    @operator("GreetOperator")
    def greet(request):
        storage.write("last_greeted", request.input)
        return f"Hello, {request.input}!"

An operator is given a request (`run`, `stage`, `task`, `attempt`, `input`, `options`, `items`) and returns text, bytes,
an `Item`, a list of these, or None for no items. What it raises becomes the task's error: `InvalidRequest` fails the
run at once, a `StorageError` or `BlobError` says which record or blob, and anything else is the operator's own failure
with its traceback. The contract itself is `wit/operator.wit`; this module adds no promise to it.
"""

import linecache
import os
import random
import sys
import time
import traceback

from componentize_py_types import Err
from wit_world.imports import blob as _blob
from wit_world.imports import clock as _clock
from wit_world.imports import logging as _logging
from wit_world.imports import random as _random
from wit_world.imports import storage as _storage
from wit_world.imports import types as _types

__all__ = [
    "BlobError",
    "InvalidRequest",
    "Item",
    "Mismatch",
    "Record",
    "Request",
    "StorageError",
    "blob",
    "log",
    "now_ms",
    "operator",
    "random_bytes",
    "random_number",
    "storage",
]

_operators = {}


def operator(class_name):
    """Registers a function as the operator of this class name."""

    def register(function):
        _operators[class_name] = function
        return function

    return register


class InvalidRequest(Exception):
    """The operator cannot work on this request, whoever runs it and however often."""


class StorageError(Exception):
    """A storage call failed. `kind` is the contract's name of the error (`not-found`, `timeout`, …), `detail` what
    comes with it, or None."""

    def __init__(self, id, error):
        self.id, self.error = id, error
        self.kind, self.detail = _kind("StorageError_", error), getattr(error, "value", None)
        super().__init__(_text(f"record {id!r}", self))


class Mismatch(Exception):
    """An update found another record than it tested for. `found` is that record, None when there is none."""

    def __init__(self, id, found):
        self.id, self.found = id, found
        super().__init__(f"record {id!r} is not as expected" if found else f"record {id!r} does not exist")


class BlobError(Exception):
    """A blob could not be opened or read. `kind` and `detail` as those of a `StorageError`."""

    def __init__(self, url, error):
        self.url, self.error = url, error
        self.kind, self.detail = _kind("BlobError_", error), getattr(error, "value", None)
        super().__init__(_text(f"blob {url!r}", self))


def _kind(prefix, error):
    """`StorageError_NotFound` is `not-found`."""
    words = type(error).__name__.removeprefix(prefix)
    return "".join("-" + letter.lower() if letter.isupper() else letter for letter in words).lstrip("-")


def _text(subject, error):
    detail = "" if error.detail is None else f" ({error.detail})"
    return f"{subject}: {error.kind.replace('-', ' ')}{detail}"


class Item:
    """What flows between stages: a value, and a key for `reduce` stages."""

    def __init__(self, value, key=None):
        self.value, self.key = _bytes(value), key

    @property
    def text(self):
        """The value as text."""
        try:
            return self.value.decode()
        except UnicodeDecodeError:
            raise InvalidRequest("an item is not UTF-8 text") from None


class Record:
    """One version of a record."""

    def __init__(self, record):
        self.version, self.value = record.version, record.value

    @property
    def text(self):
        """The value as text; a UnicodeDecodeError when it is none."""
        return self.value.decode()


class Request:
    """One attempt at one task."""

    def __init__(self, request):
        self.run, self.stage, self.task, self.attempt = request.run, request.stage, request.task, request.attempt
        self.input = request.input
        self.options = dict(request.options)
        self.items = [Item(item.value, item.key) for item in request.items]

    @property
    def item(self):
        """The one item of a plain chain."""
        if len(self.items) != 1:
            raise InvalidRequest(f"one item expected of the stage before, found {len(self.items)}")
        return self.items[0]


class storage:
    """The records of the cluster, as this run sees them. Values are bytes, or text for its UTF-8."""

    @staticmethod
    def read(id):
        """The record as this run sees it."""
        return Record(_stored(id, _storage.read, id))

    @staticmethod
    def write(id, value):
        """Makes `value` the newest version of the record, and returns that version."""
        return _stored(id, _storage.write, id, _bytes(value))

    @staticmethod
    def update_if_value_is(id, old, new):
        """Makes `new` the newest version if the newest value is `old` (None: the record does not exist), and returns
        that version. Raises `Mismatch` with the record found."""
        return _stored(id, _storage.update_if_value_is, id, None if old is None else _bytes(old), _bytes(new))

    @staticmethod
    def update_if_version_is(id, old, new):
        """The same with a test of the version (None: the record was never written)."""
        return _stored(id, _storage.update_if_version_is, id, old, _bytes(new))


def _stored(id, call, *arguments):
    try:
        return call(*arguments)
    except Err as raised:
        error = raised.value
    if isinstance(error, _types.UpdateError_Mismatch):
        raise Mismatch(id, error.value and Record(error.value))
    raise StorageError(id, error.value if isinstance(error, _types.UpdateError_Storage) else error)


class blob:
    """Large data outside of the storage, by URL: what the application grants."""

    @staticmethod
    def size(url):
        """How many bytes the blob has."""
        return _granted(url, _blob.size, url)

    @staticmethod
    def chunks(url, offset=0, length=None, bytes_max=1 << 20):
        """Yields `length` bytes (None: all) from `offset` on, in pieces of at most `bytes_max`."""
        with _granted(url, _blob.open, url, offset, length) as reader:
            while piece := _granted(url, reader.read, bytes_max):
                yield piece


def _granted(url, call, *arguments):
    try:
        return call(*arguments)
    except Err as raised:
        error = raised.value
    raise BlobError(url, error)


class log:
    """Lines for the author of the operator; they have no effect on the run."""

    @staticmethod
    def debug(message):
        _logging.log(_types.Level.DEBUG, str(message))

    @staticmethod
    def info(message):
        _logging.log(_types.Level.INFO, str(message))

    @staticmethod
    def warn(message):
        _logging.log(_types.Level.WARN, str(message))

    @staticmethod
    def error(message):
        _logging.log(_types.Level.ERROR, str(message))


def now_ms():
    """When the run was submitted, in milliseconds since 1970; the same in all its tasks and attempts."""
    return _clock.now()


def random_number():
    """The next 64 bits of the task's own sequence, which every attempt begins anew. It is also the seed of Python's
    `random`."""
    return _random.number()


def random_bytes(count):
    """The next bytes of that sequence, at most 65,536 at once."""
    return _random.bytes(count)


def _keep_sources():
    """Keeps the lines of all modules for tracebacks: a running component has no files to read them from, and the attempt
    ends it. Called while it is built."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None) or ""
        if file.endswith(".py"):
            lines = linecache.getlines(file)
            linecache.cache[file] = (len(lines), None, lines, file)
    linecache.checkcache = lambda filename=None: None
    linecache.updatecache = lambda filename, module_globals=None: []


def _bytes(value):
    return value.encode() if isinstance(value, str) else bytes(value)


def _items(returned):
    if returned is None:
        return []
    many = returned if isinstance(returned, (list, tuple)) else [returned]
    items = [one if isinstance(one, Item) else Item(one) for one in many]
    return [_types.Item(key=item.key, value=item.value) for item in items]


# The system's own clock and chance are missing in a running component.
time.time = lambda: now_ms() / 1000
time.time_ns = lambda: now_ms() * 1_000_000
os.urandom = random_bytes


class WitWorld:
    """What the component exports."""

    def classes(self):
        return list(_operators)

    def run(self, class_, request):
        function = _operators.get(class_)
        if function is None:
            raise Err(_types.OperatorError_UnknownClass())
        random.seed(_random.number())
        try:
            return _items(function(Request(request)))
        except InvalidRequest as error:
            failure = _types.OperatorError_InvalidRequest(str(error))
        except StorageError as error:
            failure = _types.OperatorError_Storage(_types.StorageFailure(error.id, error.error))
        except BlobError as error:
            failure = _types.OperatorError_Blob(_types.BlobFailure(error.url, error.error))
        except Exception as error:
            # Without this function's own frame.
            error = error.with_traceback(error.__traceback__.tb_next)
            failure = _types.OperatorError_Failed("".join(traceback.format_exception(error)).rstrip())
        raise Err(failure)
