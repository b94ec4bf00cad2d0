"""`fit`: the training loop people expect, and nothing hidden in it.

    zero the gradients, compute the loss, go back through it, clip, step the optimiser, step the schedule

around which stand the progress bar, truncated backpropagation through time, evaluation, checkpoints and resuming. The
loop changes a model only between two steps: whatever stops it, the saved state is one that an undisturbed run had.
"""

from __future__ import annotations

import inspect
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.std import tqdm

from .checkpoint import load, save
from .errors import ArgumentError, FileError, message
from .nn.module import Module
from .optim import clip_grad_norm
from .tensor import Tensor, no_grad

SHOWN = 20  # the progress bar shows the mean of this many latest losses


@dataclass
class Fit:
    """What a training run has come to. Returned by `fit`, and given to its callbacks while it goes on.

    Attributes
    ----------
    losses : the loss of every step since the very first, those before a resume included.
    metrics : name -> its value at every step.
    evaluations : (number of steps done, what `evaluate` returned).
    steps, epochs : how many are done. seconds : time spent, over all resumes.
    interrupted : Ctrl-C ended it; call `fit` again with `resume=True` to go on. stopped : a callback ended it.
    states : the states carried to the next chunk (truncated backpropagation), detached.
    """

    losses: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    evaluations: list[tuple[int, Any]] = field(default_factory=list)
    steps: int = 0
    epochs: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    stopped: bool = False
    states: Any = None

    def __repr__(self) -> str:
        parts = [f"{self.steps} step{'s' if self.steps != 1 else ''}"]
        if self.losses:
            parts.append(f"loss {self.losses[0]:.4g} -> {np.mean(self.losses[-SHOWN:]):.4g}")
        parts += [f"{name} {np.mean(values[-SHOWN:]):.4g}" for name, values in self.metrics.items() if values]
        if self.evaluations:
            parts.append(f"evaluation {_shown(self.evaluations[-1][1])}")
        parts.append(f"{self.seconds:.1f} s")
        ending = ", interrupted" if self.interrupted else ", stopped by a callback" if self.stopped else ""
        return f"<Fit: {', '.join(parts)}{ending}>"


def fit(
    model: Module,
    batches: Iterable[Any] | Callable[..., Iterable[Any]],
    loss: Callable[[Any, Any], Tensor] | None = None,
    *,
    optimizer: Any,
    step: Callable[[Any, Any, Any], Any] | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    schedule: Any = None,
    clip: float | None = None,
    metrics: Mapping[str, Callable[[Any, Any], Any]] | None = None,
    evaluate: Callable[[Any], Any] | None = None,
    evaluate_every: int | None = None,
    callbacks: Callable[[Fit], Any] | Sequence[Callable[[Fit], Any]] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
    generators: Sequence[np.random.Generator] = (),
    facts: Mapping[str, Any] | None = None,
    progress: bool = True,
    items: Callable[[Any], int] | None = None,
    unit: str = "items",
) -> Fit:
    """Train a model.

    Every step: `optimizer.zero_grad()`, the loss of the next batch, `backward()`, clipping, `optimizer.step()`,
    `schedule.step()`. Two equal calls give the same bits.

    Parameters
    ----------
    model : the module; put into training mode, and at the end into the mode it was in.
    batches : a list, a `data.Streams` or another re-iterable, gone through once an epoch; or a function that gives an
        epoch's batches (`batches()`, or `batches(epoch)`, counted from 0); or an iterator, gone through once.
    loss : a batch is (inputs, targets), and its loss `loss(model(inputs), targets)`. Takes the place of `step`.
    step : `step(model, batch, states)` -> the loss; or (loss, states); or (loss, states, {metric: number}). The states
        are detached and given to the next call: truncated backpropagation. They are None at the start of an epoch.
    optimizer : of `tl.optim`, made with `model.parameters()`.
    epochs, steps : when to end; with both, whichever comes first; with neither, after one epoch.
    schedule : of `tl.optim`; stepped after every step, or, if its `step` takes a metric, after every evaluation.
    clip : largest norm of all gradients together (`clip_grad_norm`).
    metrics : name -> f(outputs, targets) -> number, with `loss`.
    evaluate : f(model) -> number or {name: number}; called in evaluation mode and without gradients every
        `evaluate_every` steps (default: after every epoch) and at the end.
    callbacks : f(run), or several, called after every step with the `Fit` so far; a true result ends the run.
    checkpoint : file to save to every `checkpoint_every` steps (default: after every epoch), at the end and at Ctrl-C;
        written whole or not at all, through `tl.save`. `tl.load(checkpoint, model)` reads the model alone.
    resume : go on from `checkpoint` if it is there: parameters, optimiser, schedule, generators, place in the data,
        carried states and history; the result is that of a run which was never stopped, to the bit.
    generators : the `numpy.random.Generator`s that `batches` draws from. (Those of the model are found there.)
    facts : saved with every checkpoint; what `tl.load` returns. JSON's kinds.
    progress : a bar on stderr with loss, metrics and items a second; where there is no terminal, a line now and then.
    items, unit : f(batch) -> how many items it has, and what they are called. By default the number of integer
        targets, else the length of the batch's first array.

    Returns
    -------
    Fit : `.losses`, `.metrics`, `.evaluations`, `.steps`, `.interrupted`, ...

    Raises
    ------
    ArgumentError : a wrong argument. FileError : the checkpoint cannot be written, read, or is of another run.
    FloatingPointError : the loss, or the norm of the gradients, is no finite number: step, epoch and batch are named.
        The parameters are then those before that step.

    Notes
    -----
    Ctrl-C ends the run after the step in hand, saves, and returns with `interrupted=True`; a second one is an ordinary
    KeyboardInterrupt. On resuming, a list or `Streams` goes straight to its place, anything else is drawn again.

    Examples
    --------
    >>> model = tl.nn.Linear(2, 3, seed=0)
    >>> batches = [(np.ones((4, 2), np.float32), np.array([0, 1, 2, 2]))] * 5
    >>> optimizer = tl.optim.Adam(model.parameters(), lr=0.1)
    >>> run = tl.fit(model, batches, loss=tl.nn.functional.cross_entropy, optimizer=optimizer, epochs=3, progress=False)
    >>> run.steps, run.losses[-1] < run.losses[0]
    (15, True)
    """
    counts = {"epochs": epochs, "steps": steps, "evaluate_every": evaluate_every, "checkpoint_every": checkpoint_every}
    _check(model, batches, loss, step, metrics, optimizer, counts, clip, checkpoint, resume)
    run, place = Fit(), _Place(batches, list(generators))
    saver = None if checkpoint is None else _Saver(Path(checkpoint), model, optimizer, schedule, dict(facts or {}))
    if resume and saver is not None and saver.path.exists():
        saver.restore(run, place)
    step = step or _supervised(loss, metrics or {})
    loop = _Loop(run, place, model, step, optimizer, schedule, clip, evaluate, saver)
    calls = [callbacks] if callable(callbacks) else list(callbacks)
    epochs = epochs if epochs is not None or steps is not None else 1
    was_training = model.training
    model.train()
    try:
        with _interrupts(run), _progress(progress, run, unit, place, epochs, steps) as shown:
            try:
                while not loop.done(epochs, steps):
                    for batch in place.batches():
                        loop.advance(batch)
                        if evaluate_every and run.steps % evaluate_every == 0:
                            loop.examine()
                        answers = [call(run) for call in calls]
                        run.stopped = any(answers)
                        if checkpoint_every and run.steps % checkpoint_every == 0:
                            loop.store()
                        shown.show(run, items(batch) if items else _count(batch))
                        if loop.done(epochs, steps):
                            break
                    else:
                        place.end_of_epoch(run, epochs, steps)
                        if not evaluate_every:
                            loop.examine()
                        if not checkpoint_every:
                            loop.store()
            except KeyboardInterrupt:  # a second Ctrl-C, or one that the user's own code raised
                if loop.updating:
                    raise
                run.interrupted = True
            if not run.interrupted:
                loop.examine()
            loop.store()
    finally:
        model.train(was_training)
    return run


def _check(
    model: Any,
    batches: Any,
    loss: Any,
    step: Any,
    metrics: Any,
    optimizer: Any,
    counts: dict[str, Any],
    clip: Any,
    checkpoint: Any,
    resume: bool,
) -> None:
    def refuse(problem: str, given: dict[str, Any], remedy: str = "") -> None:
        raise ArgumentError(message("fit", problem, given, remedy))

    if not isinstance(model, Module):
        refuse("the model must be a Module", {"model": model}, "derive its class from tl.nn.Module")
    if (loss is None) == (step is None):
        refuse(
            "takes either loss= or step=",
            {"loss": loss, "step": step},
            "fit(model, batches, loss=F.cross_entropy, ...)",
        )
    for name, function in (("loss", loss), ("step", step)):
        if function is not None and not callable(function):
            refuse(f"{name} must be a function", {name: function})
    if step is not None and metrics:
        refuse("metrics= goes with loss=", {"metrics": metrics}, "let step return (loss, states, {'accuracy': ...})")
    if not hasattr(optimizer, "step") or not hasattr(optimizer, "zero_grad"):
        refuse("the optimizer must be one of tl.optim", {"optimizer": optimizer}, "tl.optim.Adam(model.parameters())")
    moved = {id(p) for group in getattr(optimizer, "param_groups", ()) for p in group["params"]}
    own = model.parameters()
    if moved and own and not any(id(p) in moved for p in own):
        refuse(
            "the optimizer holds none of this model's parameters",
            {"model": type(model).__name__},
            "make it of this model: tl.optim.Adam(model.parameters())",
        )
    if not callable(batches) and not hasattr(batches, "__iter__"):
        refuse("batches must be a list, an iterator, or a function that gives one", {"batches": batches})
    for name, count in counts.items():
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
            refuse(f"{name} must be an integer of at least 1", {name: count})
    if clip is not None and not clip > 0:
        refuse("clip is the largest norm of the gradients, above 0", {"clip": clip})
    if checkpoint is None and (resume or counts["checkpoint_every"]):
        refuse("there is no checkpoint", {"resume": resume}, "say where: checkpoint='run.safetensors'")
    if checkpoint is not None and (Path(checkpoint).is_dir() or not Path(checkpoint).absolute().parent.is_dir()):
        problem = (
            f"{checkpoint} is a folder"
            if Path(checkpoint).is_dir()
            else f"there is no folder {Path(checkpoint).parent}"
        )
        raise FileError(message("fit", problem, remedy="name a file, in a folder that exists"))


# ------------------------------------------------------------------------------------------------------------ the loop
@dataclass
class _Loop:
    """A run in progress. Between two calls of `advance` everything in it is what an undisturbed run would have."""

    run: Fit
    place: _Place
    model: Module
    step: Callable[[Any, Any, Any], Any]
    optimizer: Any
    schedule: Any
    clip: float | None
    evaluate: Callable[[Any], Any] | None
    saver: _Saver | None
    updating: bool = False  # between the first and the last change of a step

    def __post_init__(self) -> None:
        self.follows_metric = self.schedule is not None and _takes_one(self.schedule.step, "metrics")
        self.evaluated = self.run.evaluations[-1][0] if self.run.evaluations else -1
        self.saved = self.run.steps
        self.begin = time.perf_counter() - self.run.seconds

    def done(self, epochs: int | None, steps: int | None) -> bool:
        run = self.run
        ended = (steps is not None and run.steps >= steps) or (epochs is not None and run.epochs >= epochs)
        return ended or run.stopped or run.interrupted

    def advance(self, batch: Any) -> None:
        """One step of training."""
        run, parameters = self.run, self.model.parameters()
        generators = self.model.rng_state()
        try:
            loss, states, metrics = _outcome(self.step(self.model, batch, run.states))
            number = loss.item()
            if not np.isfinite(number):
                raise self._not_finite(f"the loss is {number}")
            self.optimizer.zero_grad()
            loss.backward()
            norm = clip_grad_norm(parameters, self.clip) if self.clip is not None else 0.0
            if not np.isfinite(norm) or not all(_finite(p.grad) for p in parameters):
                raise self._not_finite("a gradient is not finite")
        except KeyboardInterrupt:
            self.model.set_rng_state(generators)
            raise
        self.updating = True
        self.optimizer.step()
        if self.schedule is not None and not self.follows_metric:
            self.schedule.step()
        self.place.batch += 1
        run.steps += 1
        run.seconds = time.perf_counter() - self.begin
        run.states = _detached(states)
        run.losses.append(number)
        for name, value in metrics.items():
            run.metrics.setdefault(name, []).append(float(value))
        self.updating = False

    def examine(self) -> None:
        """Evaluate, once a step."""
        if self.evaluate is None or self.evaluated == self.run.steps:
            return
        self.model.eval()
        with no_grad():
            value = self.evaluate(self.model)
        self.model.train()
        value = {k: float(v) for k, v in value.items()} if isinstance(value, Mapping) else float(value)
        self.run.evaluations.append((self.run.steps, value))
        self.evaluated = self.run.steps
        if self.follows_metric:
            self.schedule.step(next(iter(value.values())) if isinstance(value, dict) else value)

    def store(self) -> None:
        """Save, if there is a file to save to."""
        if self.saver is not None:
            self.saver.write(self.run, self.place)
            self.saved = self.run.steps

    def _not_finite(self, what: str) -> FloatingPointError:
        where = f"step {self.run.steps} (epoch {self.run.epochs}, batch {self.place.batch})"
        remedy = "lower the learning rate, or clip=1.0; `with tl.detect_anomaly():` names the value it comes from"
        if self.saver is not None and self.saver.path.exists():
            remedy += f"\n  {self.saver.path} holds the state after {self.saved} steps"
        return FloatingPointError(message("fit", f"{where}: {what}", remedy=remedy))


def _finite(gradient: Tensor | None) -> bool:
    """One pass at the speed of memory; a look at every entry only where the sum of squares is no number."""
    if gradient is None:
        return True
    flat = gradient.data.reshape(-1)
    with np.errstate(all="ignore"):
        return bool(np.isfinite(np.dot(flat, flat)) or np.isfinite(flat).all())


# -------------------------------------------------------------------------------------------------------------- a step
def _supervised(loss: Any, metrics: Mapping[str, Callable[[Any, Any], Any]]) -> Callable:
    def step(model: Any, batch: Any, states: Any) -> tuple[Tensor, None, dict[str, Any]]:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            kind = f"{type(batch).__name__} of {len(batch)}" if hasattr(batch, "__len__") else type(batch).__name__
            problem = f"with loss=, a batch is the pair (inputs, targets); this one is a {kind}"
            raise ArgumentError(
                message("fit", problem, remedy="say with step=f(model, batch, states) what to do with it")
            )
        inputs, targets = batch
        outputs = model(inputs)
        value = loss(outputs, targets)
        with no_grad():
            return value, None, {name: f(outputs, targets) for name, f in metrics.items()}

    return step


def _outcome(result: Any) -> tuple[Tensor, Any, Mapping[str, Any]]:
    """What a step returned, as (loss, states, metrics)."""
    parts = result if isinstance(result, tuple) else (result,)
    value, states, extra = (*parts, None, None)[:3]
    if len(parts) > 3 or not isinstance(value, Tensor) or value.size != 1 or not isinstance(extra or {}, Mapping):
        remedy = "return the loss; or (loss, states); or (loss, states, {'metric': number})"
        raise ArgumentError(message("fit", "the loss must be a Tensor of one number", {"returned": result}, remedy))
    return value, states, extra or {}


def _detached(states: Any) -> Any:
    if isinstance(states, Tensor):
        return states.detach()
    if isinstance(states, tuple) and hasattr(states, "_fields"):
        return type(states)(*map(_detached, states))
    if isinstance(states, tuple | list):
        return type(states)(map(_detached, states))
    if isinstance(states, dict):
        return {name: _detached(state) for name, state in states.items()}
    return states


def _count(batch: Any) -> int:
    last = batch[-1] if isinstance(batch, tuple | list) and batch else batch
    if getattr(getattr(last, "dtype", None), "kind", "") in "iu" and last.ndim:
        return int(last.size)
    first = batch[0] if isinstance(batch, tuple | list) and batch else batch
    shape = getattr(first, "shape", None)
    return int(shape[0]) if shape else 1


# ---------------------------------------------------------------------------------------------------- place in the data
class _Place:
    """Where in the data the run is: the epoch's batches from number `batch` on."""

    def __init__(self, source: Any, generators: list[np.random.Generator]):
        self.source, self.generators = source, generators
        self.once = isinstance(source, Iterator)
        self.by_epoch = not hasattr(source, "__iter__") and not hasattr(source, "__getitem__")
        self.batch = 0  # of this epoch
        self.epoch = 0
        self.begin = [g.bit_generator.state for g in generators]  # of this epoch

    def batches(self) -> Iterator[Any]:
        for generator, state in zip(self.generators, self.begin, strict=True):
            generator.bit_generator.state = state
        if not self.by_epoch and hasattr(self.source, "__getitem__") and hasattr(self.source, "__len__"):
            return (self.source[k] for k in range(self.batch, len(self.source)))
        if self.by_epoch:
            epoch = iter(self.source(self.epoch) if _takes_one(self.source, "epoch") else self.source())
        else:
            epoch = iter(self.source)
        return islice(epoch, self.batch, None)

    def end_of_epoch(self, run: Fit, epochs: int | None, steps: int | None) -> None:
        if self.batch == 0:
            raise ArgumentError(message("fit", f"epoch {run.epochs} has no batches", {"batches": self.source}))
        self.epoch, self.batch = self.epoch + 1, 0
        self.begin = [g.bit_generator.state for g in self.generators]
        run.epochs, run.states = run.epochs + 1, None
        more = (epochs is None or run.epochs < epochs) and (steps is None or run.steps < steps)
        if self.once and more:
            problem = f"the iterator ended after {run.steps} steps, and cannot be gone through again"
            wanted = f"{steps} steps" if epochs is None else f"{epochs} epochs"
            remedy = "give a list, or a function that returns an iterator for each epoch"
            raise ArgumentError(message("fit", f"{problem}; {wanted} were asked for", remedy=remedy))


# --------------------------------------------------------------------------------------------------------- checkpoints
class _Saver:
    """A run in a file: `tl.save`, with everything that is neither model nor optimiser under the fact `fit`."""

    def __init__(self, path: Path, model: Module, optimizer: Any, schedule: Any, facts: dict[str, Any]):
        self.path, self.model, self.optimizer, self.schedule, self.facts = path, model, optimizer, schedule, facts

    def write(self, run: Fit, place: _Place) -> None:
        for name, leaf in self.model.named_parameters():
            if not np.isfinite(leaf.data).all():
                problem = (
                    f"after step {run.steps - 1}: parameter {name} is no longer finite; {self.path} was not written"
                )
                remedy = "lower the learning rate, or clip=1.0"
                raise FloatingPointError(message("fit", problem, remedy=remedy))
        progress = {
            "losses": run.losses,
            "metrics": run.metrics,
            "evaluations": run.evaluations,
            "steps": run.steps,
            "epochs": run.epochs,
            "seconds": run.seconds,
            "states": run.states,
            "batch": place.batch,
            "generators": place.begin,
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
        }
        save(self.path, self.model, self.optimizer, **self.facts, fit=_marked(progress))

    def restore(self, run: Fit, place: _Place) -> None:
        """Everything that can be wrong is found before anything is changed."""
        marked = load(self.path).get("fit")
        if marked is None:
            remedy = "give another file to checkpoint=, or resume=False to write over it"
            raise FileError(message("fit", f"{self.path} holds a model, but no run to be resumed", remedy=remedy))
        saved = _unmarked(marked)
        for name, there, here in (
            ("a schedule", saved["schedule"] is not None, self.schedule is not None),
            ("generators", len(saved["generators"]), len(place.generators)),
        ):
            if there != here:
                problem = (
                    f"the run in {self.path} does not go on with other arguments: {name}: {there} there, {here} here"
                )
                raise ArgumentError(message("fit", problem, remedy="call fit as it was called then"))
        load(self.path, self.model, self.optimizer)
        if self.schedule is not None:
            self.schedule.load_state_dict(saved["schedule"])
        run.losses, run.metrics, run.evaluations = saved["losses"], saved["metrics"], saved["evaluations"]
        run.steps, run.epochs, run.seconds = saved["steps"], saved["epochs"], saved["seconds"]
        run.states = saved["states"]
        place.epoch, place.batch, place.begin = run.epochs, saved["batch"], saved["generators"]


def _marked(tree: Any) -> Any:
    """For `save`, whose facts are JSON and arrays: what else a state may be, in marked boxes."""
    if isinstance(tree, Tensor):
        return {"tensor": tree.data}
    if isinstance(tree, tuple):
        return {"tuple": [_marked(item) for item in tree]}
    if isinstance(tree, list):
        return [_marked(item) for item in tree]
    if isinstance(tree, dict):
        return {"dict": [[_marked(key), _marked(value)] for key, value in tree.items()]}
    return tree


def _unmarked(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_unmarked(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "tensor":
        return Tensor(content)
    return tuple(_unmarked(content)) if kind == "tuple" else dict(_unmarked(content))


# -------------------------------------------------------------------------------------------------------- progress bar
class _Silent:
    """The progress of a run, shown to nobody; the others say it on stderr."""

    def __init__(self, run: Fit, total: int | None, unit: str):
        self.total, self.unit = total, unit
        self.items, self.begin = 0, time.perf_counter()

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: Any) -> None: ...

    def show(self, run: Fit, count: int) -> None:
        """A step was done, on `count` items."""

    def facts(self, run: Fit) -> str:
        recent = {"loss": run.losses, **run.metrics}
        shown = [f"{name} {_digits(np.mean(values[-SHOWN:]))}" for name, values in recent.items() if values]
        rate = self.items / max(time.perf_counter() - self.begin, 1e-9)
        return "  ".join([*shown, f"{tqdm.format_sizeof(rate)} {self.unit}/s"])


class _Bar(_Silent):
    """For terminals: one line of at most 80 columns, drawn again ten times a second."""

    def __init__(self, run: Fit, total: int | None, unit: str):
        super().__init__(run, total, unit)
        layout = "{percentage:3.0f}% {bar} {n_fmt}/{total_fmt} {elapsed}<{remaining}  {desc}"
        if total is None:
            layout = "{n_fmt} steps {elapsed}  {desc}"
        columns = min(80, shutil.get_terminal_size().columns - 1)
        self.line = _Line(total=total, initial=run.steps, file=sys.stderr, ncols=columns, nrows=2, bar_format=layout)
        self.drawn = 0.0

    def show(self, run: Fit, count: int) -> None:
        self.items += count
        now = time.perf_counter()
        if now - self.drawn >= 0.1 or run.steps == self.total:
            self.drawn = now
            self.line.set_description_str(self.facts(run), refresh=False)
        self.line.update()

    def __exit__(self, *_: Any) -> None:
        self.line.close()


class _Line(tqdm):
    monitor_interval = 0  # no thread of its own


class _Report(_Silent):
    """For files and pipes: a line for every tenth of the run, or every half minute where its end is not known."""

    printed = -1

    def show(self, run: Fit, count: int) -> None:
        self.items += count
        tenth = 10 * run.steps // self.total if self.total else int(time.perf_counter() - self.begin) // 30
        if tenth > self.printed:
            self.printed = tenth
            done = f"{run.steps}/{self.total}" if self.total else f"{run.steps}"
            print(f"step {done}  {self.facts(run)}", file=sys.stderr, flush=True)


def _progress(progress: bool, run: Fit, unit: str, place: _Place, epochs: int | None, steps: int | None) -> _Silent:
    total = steps
    if epochs is not None and hasattr(place.source, "__len__"):
        total = min(epochs * len(place.source), steps if steps is not None else sys.maxsize)
    kind = _Silent if not progress else _Bar if sys.stderr.isatty() else _Report
    return kind(run, total, unit)


def _shown(value: Any) -> str:
    return ", ".join(f"{k} {v:.4g}" for k, v in value.items()) if isinstance(value, dict) else f"{value:.4g}"


# ------------------------------------------------------------------------------------------------------- odds and ends
@contextmanager
def _interrupts(run: Fit) -> Iterator[None]:
    """Ctrl-C asks the run to end after its step. Elsewhere than in the main thread it does not arrive at all."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def end(*_: Any) -> None:
        if run.interrupted:
            raise KeyboardInterrupt
        run.interrupted = True

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _digits(value: Any) -> str:
    """Three digits, zeros at the end included, so that the line does not jump."""
    return f"{value:#.3g}".rstrip(".")


def _takes_one(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has an argument of this name, or one that it cannot do without."""
    arguments = inspect.signature(function).parameters.values()
    return any(p.kind < p.VAR_POSITIONAL and (p.name == name or p.default is p.empty) for p in arguments)
