"""Every public name says what it is, and every example in a docstring runs and gives what it says."""

import doctest
import inspect
import pkgutil
import re

import numpy as np
import pytest

import tinygrad_lstm as tl

ROOMS = ["errors", "graph", "ops", "autodiff", "kernels", "codegen", "tensor", "functions", "gradients", "fuse"]
PUBLIC = [name for name in tl.__all__ if inspect.isroutine(getattr(tl, name)) or inspect.isclass(getattr(tl, name))]
# Without an example: errors, and what has only an effect on the process.
NO_EXAMPLE = {name for name in PUBLIC if name.endswith(("Error", "Extra"))} | {
    "get_num_threads",
    "set_num_threads",
    "enable_grad",
}


def objects():
    """(title, object) of every public function and class, and of the methods of the classes."""
    for name in PUBLIC:
        thing = getattr(tl, name)
        yield name, thing
        if inspect.isclass(thing):
            for key, member in vars(thing).items():
                if not key.startswith("_") and inspect.isfunction(member):
                    yield f"{name}.{key}", member
    for room in (tl.nn, tl.nn.functional, tl.optim, tl.init, tl.interop):
        short = room.__name__.removeprefix("tinygrad_lstm.")
        for name, thing in vars(room).items():
            if not name.startswith("_") and getattr(thing, "__module__", "").startswith(room.__name__):
                yield f"{short}.{name}", thing


EXAMPLES = [(title, thing) for title, thing in objects() if ">>>" in (thing.__doc__ or "")]


NUMBER = re.compile(r"-?\d+\.\d*(?:e[+-]?\d+)?")


class Checker(doctest.OutputChecker):
    """Numbers are compared as numbers: the last digit of a float32 is the processor's."""

    def check_output(self, want, got, flags):
        if super().check_output(want, got, flags):
            return True
        if NUMBER.sub("#", want).split() != NUMBER.sub("#", got).split():
            return False
        return np.allclose([float(n) for n in NUMBER.findall(want)], [float(n) for n in NUMBER.findall(got)], rtol=1e-5)


@pytest.mark.parametrize(("title", "thing"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_examples_run(title, thing):
    parsed = doctest.DocTestParser().get_doctest(inspect.cleandoc(thing.__doc__), {"tl": tl, "np": np}, title, None, 0)
    said: list[str] = []
    result = doctest.DocTestRunner(Checker(), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS).run(
        parsed, out=said.append
    )
    assert result.failed == 0, "".join(said)
    assert result.attempted > 0


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented(name):
    thing = getattr(tl, name)
    doc = inspect.getdoc(thing)
    assert doc and len(doc.split()) >= 3, "no docstring"
    if name not in NO_EXAMPLE and thing.__module__.rpartition(".")[2] in ROOMS:
        assert ">>>" in doc, "no example"


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_says_what_lives_there(room):
    assert room in {m.name for m in pkgutil.iter_modules(tl.__path__)}
    module = __import__(f"tinygrad_lstm.{room}", fromlist=[room])
    assert module.__doc__ and len(module.__doc__.split()) > 8
