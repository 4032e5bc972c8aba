"""Python files that raise, exit, crash or never return."""

from __future__ import annotations

from tests.contract.bad_models.case import Case, holding

_CLASS = """
class Model:
    inputs = {"x": ("FP32", [None, 4])}
    outputs = {"y": ("FP32", [None, 4])}

    def load(self, folder):
        LOAD

    def infer(self, batch):
        INFER
"""


def code(load: str = "pass", infer: str = 'return {"y": batch["x"]}', top: str = "") -> bytes:
    """A file whose class does this."""
    return (top + _CLASS.replace("LOAD", load).replace("INFER", infer)).encode()


def _case(name: str, words: str, **parts: str) -> Case:
    return Case(f"python-{name}", words, holding("model.py", code(**parts)))


CRASH = "import ctypes; ctypes.string_at(1)"

CASES: tuple[Case, ...] = (
    _case(
        "raises-at-import",
        r"ValueError: no good \(.*model\.py:1\)",
        top="raise ValueError('no good')\n",
    ),
    _case(
        "raises-in-load",
        r"RuntimeError: no weights \(.*model\.py:",
        load="raise RuntimeError('no weights')",
    ),
    _case("exits-in-load", "SystemExit", load="import sys; sys.exit(0)"),
    _case("exits-at-import", "SystemExit", top="import sys\nsys.exit('bye')\n"),
    _case("ends-the-process-in-load", "exited with status 7", load="import os; os._exit(7)"),
    _case("ends-the-process-well", "exited with status 0", load="import os; os._exit(0)"),
    _case("ends-the-process-in-infer", "exited with status 3", infer="import os; os._exit(3)"),
    _case("crashes-in-load", "SIGSEGV", load=CRASH),
    _case("crashes-at-import", "SIGSEGV", top=f"{CRASH}\n"),
    _case("crashes-in-infer", "SIGSEGV", infer=CRASH),
    _case("aborts", "SIGABRT .* gave up", load="import os; os.abort()"),
    _case("is-killed", "SIGKILL", load="import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
    _case("recurses", "RecursionError", load="self.load(folder)"),
    _case("wants-all-memory", "MemoryError", load="bytearray(1 << 60)"),
    _case(
        "raises-what-has-no-words",
        "E: <exception",
        load="class E(Exception):\n            __str__ = None\n        raise E",
    ),
    _case("imports-what-is-not-there", "nosuchmodule", top="import nosuchmodule\n"),
    Case("python-of-no-syntax", "SyntaxError", holding("model.py", b"class Model(:\n")),
    Case("python-with-zeros", "null bytes", holding("model.py", b"x = 1\0\n")),
    Case("python-not-utf8", "utf-8", holding("model.py", b"x = '\xff'\n")),
    Case("python-without-class", "one class with `infer`", holding("model.py", b"x = 1\n")),
    Case("python-nested", "nested", holding("model.py", b"x = " + b"(" * 5000 + b")" * 5000)),
)

RAISING = frozenset(
    {
        "python-raises-in-load",
        "python-raises-what-has-no-words",
        "python-imports-what-is-not-there",
        "python-of-no-syntax",
        "python-with-zeros",
        "python-not-utf8",
        "python-without-class",
        "python-nested",
    }
)
"""Those that do no harm to the process that loads them."""
