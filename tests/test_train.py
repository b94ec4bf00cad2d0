"""The training loop: against the loop written out, stopped at every place it can be stopped, and misused."""

import os
import re
import signal

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import optim
from tinygrad_lstm.data import Minibatches, Streams
from tinygrad_lstm.nn import Dropout, Embedding, Linear, Module, Recurrent, Sequential, Tanh
from tinygrad_lstm.nn.functional import cross_entropy, mse_loss
from tinygrad_lstm.train import Fit, fit

RNG = np.random.default_rng(5)
X, Y = RNG.standard_normal((40, 3)).astype(np.float32), RNG.integers(0, 4, 40)
BATCHES = [(X[k : k + 8], Y[k : k + 8]) for k in range(0, 40, 8)]


def classifier(seed=0):
    return Sequential(Linear(3, 16, seed=seed), Tanh(), Dropout(0.3, seed=seed + 1), Linear(16, 4, seed=seed + 2))


class Characters(Module):
    def __init__(self):
        self.embedding = Embedding(7, 5, seed=0)
        self.layer = Recurrent(tl.cells.lstm, input=5, hidden=6, seed=1)
        self.readout = Linear(6, 7, seed=2)

    def forward(self, ids, states=None):
        out, states = self.layer(self.embedding(ids), states)
        return self.readout(out), states


def bptt(model, batch, states):
    scores, states = model(batch[0], states)
    loss = cross_entropy(scores.reshape(-1, 7), batch[1].reshape(-1))
    return loss, states, {"bits": loss.item() / np.log(2)}


def streams():
    return Streams(np.random.default_rng(3).integers(0, 7, 121), batch=3, length=6)  # 7 chunks of 6, the last of 4


def make(kind="classifier"):
    """Everything a run consists of, made anew: model, the arguments of fit."""
    if kind == "classifier":
        model = classifier()
        arguments = {"batches": BATCHES, "loss": cross_entropy, "epochs": 4}
    else:
        model = Characters()
        arguments = {"batches": streams(), "step": bptt, "epochs": 3}
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    schedule = optim.CosineAnnealingLR(optimizer, T_max=30)
    return model, {**arguments, "optimizer": optimizer, "schedule": schedule, "clip": 0.5, "progress": False}


def assert_same(model, run, other, another):
    assert run.losses == another.losses and run.metrics == another.metrics and run.evaluations == another.evaluations
    assert (run.steps, run.epochs) == (another.steps, another.epochs)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name], err_msg=name)


# ------------------------------------------------------------------------------------------------------- what it does
def test_is_the_loop_written_out():
    model, arguments = make()
    run = fit(model, **arguments)

    twin, arguments = make()
    optimizer, schedule, losses = arguments["optimizer"], arguments["schedule"], []
    twin.train()
    for _ in range(4):
        for x, y in BATCHES:
            loss = cross_entropy(twin(x), y)
            optimizer.zero_grad()
            loss.backward()
            optim.clip_grad_norm(twin.parameters(), 0.5)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    assert run.losses == losses and run.steps == 20 and run.epochs == 4
    for name, value in twin.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], value)


def test_states_are_carried_within_an_epoch_and_detached():
    seen = []

    def step(model, batch, states):
        seen.append(states)
        assert states is None or not any(s.requires_grad for s in states)
        return bptt(model, batch, states)

    model, arguments = make("characters")
    run = fit(model, **{**arguments, "step": step})
    assert [k for k, states in enumerate(seen) if states is None] == [0, 7, 14]
    assert run.states is None and run.steps == 21
    np.testing.assert_allclose(np.array(run.metrics["bits"]) * np.log(2), run.losses, rtol=1e-6)


@pytest.mark.parametrize("kind", ["classifier", "characters"])
def test_the_same_fit_twice_gives_the_same_bits(kind):
    (one, first), (two, second) = make(kind), make(kind)
    assert_same(one, fit(one, **first), two, fit(two, **second))


def test_it_learns():
    x = RNG.standard_normal((64, 3)).astype(np.float32)
    y = x @ np.array([[1.0], [-2.0], [0.5]], np.float32)
    model = Linear(3, 1, seed=0)
    run = fit(
        model,
        Minibatches(x, y, size=16),
        mse_loss,
        optimizer=optim.Adam(model.parameters(), 0.05),
        epochs=60,
        progress=False,
    )
    assert run.losses[-1] < 1e-3 < 1 < run.losses[0]
    np.testing.assert_allclose(model.weight.numpy(), [[1, -2, 0.5]], atol=0.05)


@pytest.mark.parametrize(
    ("given", "steps", "epochs"),
    [
        ({}, 5, 1),
        ({"epochs": 2}, 10, 2),
        ({"steps": 7}, 7, 1),
        ({"epochs": 3, "steps": 7}, 7, 1),
        ({"epochs": 1, "steps": 70}, 5, 1),
    ],
)
def test_it_ends_when_asked(given, steps, epochs):
    model, arguments = make()
    run = fit(model, **{k: v for k, v in arguments.items() if k != "epochs"}, **given)
    assert (run.steps, run.epochs) == (steps, epochs)
    assert len(run.losses) == steps and not run.interrupted and not run.stopped


def test_batches_may_be_functions_and_iterators():
    def losses(batches, **more):
        model, arguments = make()
        return fit(model, **{**arguments, "batches": batches, "epochs": 2, **more}).losses

    epochs = []

    def numbered(epoch):
        epochs.append(epoch)
        return iter(BATCHES)

    expected = losses(BATCHES)
    assert losses(lambda: iter(BATCHES)) == expected == losses(numbered) == losses(lambda k=0: BATCHES[k:])
    assert epochs == [0, 1]
    assert losses(iter(BATCHES), epochs=1) == expected[:5] == losses(iter(BATCHES), epochs=None, steps=5)


def test_evaluation_has_no_graph_no_dropout_and_no_influence():
    modes = []

    def evaluate(model):
        modes.append((model.training, model[0](X).requires_grad))
        return cross_entropy(model(X), Y)

    model, arguments = make()
    run = fit(model, **arguments, evaluate=evaluate, evaluate_every=6)
    assert [steps for steps, _ in run.evaluations] == [6, 12, 18, 20]
    assert modes == [(False, False)] * 4 and model.training
    plain, arguments = make()
    assert fit(plain, **arguments).losses == run.losses
    last = cross_entropy(plain.eval()(X), Y).item()
    assert run.evaluations[-1][1] == last

    model, arguments = make()
    run = fit(model, **arguments, evaluate=lambda m: {"loss": 1.0, "error": 2})
    assert run.evaluations == [(k, {"loss": 1.0, "error": 2.0}) for k in (5, 10, 15, 20)]


def test_a_plateau_schedule_follows_the_evaluation():
    model, arguments = make()
    optimizer = arguments["optimizer"]
    arguments["schedule"] = optim.ReduceLROnPlateau(optimizer, factor=0.1, patience=0)
    fit(model, **arguments, evaluate=lambda m: 1.0)
    assert optimizer.lr == pytest.approx(0.02 * 0.1**3)


def test_metrics_callbacks_and_modes():
    seen = []

    def stop(run):
        seen.append((run.steps, run.losses[-1]))
        return run.steps == 8

    def accuracy(outputs, targets):
        assert not (outputs * 1).requires_grad
        return (outputs.numpy().argmax(1) == targets).mean()

    model, arguments = make()
    model.eval()
    run = fit(model, **arguments, metrics={"accuracy": accuracy}, callbacks=[stop, lambda run: None])
    assert run.steps == 8 and run.stopped and not model.training
    assert seen == list(enumerate(run.losses, start=1))
    assert len(run.metrics["accuracy"]) == 8 and set(np.array(run.metrics["accuracy"]) * 8) <= set(range(9))
    text = repr(run)
    assert re.search(r"<Fit: 8 steps, loss [\d.]+ -> [\d.]+, accuracy 0\.\d+, .* s, stopped by a callback>", text)
    assert repr(Fit()) == "<Fit: 0 steps, 0.0 s>"


# ------------------------------------------------------------------------------------------------ stopped and resumed
@pytest.mark.parametrize("kind", ["classifier", "characters"])
@pytest.mark.parametrize("at", [1, 4, 5, 7, 11, 14])
def test_resumes_to_the_same_bits(tmp_path, kind, at):
    whole, arguments = make(kind)
    expected = fit(whole, **arguments, evaluate=lambda m: m.parameters()[0].numpy().sum(), evaluate_every=3)

    path = tmp_path / "run.safetensors"
    more = {
        "evaluate": lambda m: m.parameters()[0].numpy().sum(),
        "evaluate_every": 3,
        "checkpoint": path,
        "resume": True,
    }
    model, arguments = make(kind)

    def killed(run):
        if run.steps == at + 1:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fit(model, **arguments, **more, checkpoint_every=at, callbacks=killed)
    model, arguments = make(kind)
    run = fit(model, **arguments, **more)
    assert_same(model, run, whole, expected)
    if kind == "characters":
        assert len(run.metrics["bits"]) == run.steps

    again, arguments = make(kind)  # a run that is complete is only read
    assert_same(again, fit(again, **arguments, **more), whole, expected)
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


@pytest.mark.parametrize("how", ["signal", "in a step", "in the data", "in a callback"])
def test_ctrl_c_saves_and_the_run_goes_on(tmp_path, how):
    expected_model, arguments = make()
    expected = fit(expected_model, **arguments)
    model, arguments = make()
    batches, loss, calls = arguments["batches"], arguments["loss"], []

    def interrupting(outputs, targets):
        calls.append(1)
        if len(calls) == 8:
            if how == "signal":
                os.kill(os.getpid(), signal.SIGINT)
            if how == "in a step":
                raise KeyboardInterrupt
        return loss(outputs, targets)

    def data(epoch):
        for k, batch in enumerate(batches):
            if how == "in the data" and (epoch, k) == (1, 2):
                raise KeyboardInterrupt
            yield batch

    def callback(run):
        if how == "in a callback" and run.steps == 8:
            raise KeyboardInterrupt

    path = tmp_path / "run.safetensors"
    run = fit(model, **{**arguments, "loss": interrupting, "batches": data}, checkpoint=path, callbacks=callback)
    assert run.interrupted and "interrupted" in repr(run)
    assert run.steps == {"signal": 8, "in a step": 7, "in the data": 7, "in a callback": 8}[how]
    assert run.losses == expected.losses[: run.steps]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    model, arguments = make()
    resumed = fit(model, **arguments, checkpoint=path, resume=True)
    assert not resumed.interrupted
    assert_same(model, resumed, expected_model, expected)


def test_generators_of_the_data_are_resumed(tmp_path):
    def run(steps, resume):
        model, arguments = make()
        generator = np.random.default_rng(11)

        def batches():
            for _ in range(6):
                rows = generator.integers(0, 40, 8)
                yield X[rows], Y[rows]

        more = {"batches": batches, "epochs": None, "steps": steps, "generators": [generator]}
        if resume is not None:
            more |= {"checkpoint": tmp_path / "run.safetensors", "resume": resume}
        return model, fit(model, **{**arguments, **more})

    expected_model, expected = run(20, None)
    run(9, False)
    model, resumed = run(20, True)
    assert_same(model, resumed, expected_model, expected)


def test_an_iterator_is_drawn_again_to_its_place(tmp_path):
    def run(steps, **more):
        model, arguments = make()
        arguments |= {"batches": iter(BATCHES * 4), "epochs": None, "steps": steps}
        return model, fit(model, **arguments, **more)

    expected_model, expected = run(18)
    run(7, checkpoint=tmp_path / "run.safetensors")
    model, resumed = run(18, checkpoint=tmp_path / "run.safetensors", resume=True)
    assert_same(model, resumed, expected_model, expected)


def test_states_of_every_kind_survive(tmp_path):
    states = {"a": (tl.tensor([1.5]), [np.arange(3), None, "b"]), 3: (2.5, True)}

    def step(model, batch, carried):
        assert carried is None or repr(carried) == repr(states)
        return cross_entropy(model(batch[0]), batch[1]), states

    for steps in (3, 8):
        model, arguments = make()
        arguments |= {"step": step, "loss": None, "steps": steps}
        run = fit(model, **arguments, checkpoint=tmp_path / "run", resume=True)
        assert run.steps == steps


def test_facts_go_into_the_file(tmp_path):
    model, arguments = make()
    fit(model, **arguments, checkpoint=tmp_path / "run", facts={"vocabulary": "abc"})
    facts = tl.load(tmp_path / "run", classifier(9))
    assert facts["vocabulary"] == "abc" and len(facts["fit"]["dict"]) > 5


# ------------------------------------------------------------------------------------------------------ what goes wrong
def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    bad = [*BATCHES[:3], (X[:8] * np.nan, Y[:8])]
    model, arguments = make()
    before = []

    def remember(run):
        before[:] = [model.state_dict()]

    arguments |= {"batches": bad}
    with pytest.raises(FloatingPointError) as caught:
        fit(model, **arguments, checkpoint=tmp_path / "run", checkpoint_every=2, callbacks=remember)
    text = str(caught.value)
    assert "step 3 (epoch 0, batch 3): the loss is nan" in text
    assert "learning rate" in text and "after 2 steps" in text
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[0][name])
    tl.load(tmp_path / "run", classifier())


def test_a_gradient_that_is_no_number_stops_the_run_before_the_update():
    model = Linear(3, 1, seed=0)
    before = model.state_dict()

    def loss(outputs, targets):
        return tl.sqrt(outputs.sum() * 0.0)

    for clip in (None, 1.0):
        with pytest.raises(FloatingPointError, match=r"step 0 \(epoch 0, batch 0\): a gradient is not finite"):
            fit(model, [(X, Y)], loss, optimizer=optim.SGD(model.parameters(), 0.1), clip=clip, progress=False)
    np.testing.assert_array_equal(model.state_dict()["weight"], before["weight"])


def test_parameters_that_are_no_numbers_are_not_saved(tmp_path):
    model = Linear(3, 4, seed=0)
    with pytest.raises(
        FloatingPointError, match=r"after step 0: parameter weight is no longer finite; .*run was not written"
    ):
        optimizer = optim.SGD(model.parameters(), 3e38)
        fit(model, [(X * 1e6, Y)], cross_entropy, optimizer=optimizer, checkpoint=tmp_path / "run", progress=False)
    assert not list(tmp_path.iterdir())


def wrong(**changes):
    def call(tmp_path):
        model, arguments = make()
        arguments |= {k: v(tmp_path) if k == "checkpoint" else v for k, v in changes.items()}
        fit(arguments.pop("model", model), **arguments)

    return call


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (wrong(model="LSTM"), tl.ArgumentError, ["must be a Module", "'LSTM'"]),
        (wrong(loss=None), tl.ArgumentError, ["either loss= or step="]),
        (wrong(step=bptt), tl.ArgumentError, ["either loss= or step="]),
        (wrong(loss="mse"), tl.ArgumentError, ["loss must be a function"]),
        (
            wrong(loss=None, step=bptt, metrics={"a": min}),
            tl.ArgumentError,
            ["metrics= goes with loss=", "{'accuracy'"],
        ),
        (wrong(optimizer=0.1), tl.ArgumentError, ["tl.optim", "0.1"]),
        (wrong(batches=3), tl.ArgumentError, ["batches", "list"]),
        (wrong(batches=[]), tl.ArgumentError, ["epoch 0 has no batches"]),
        (wrong(batches=[X]), tl.ArgumentError, ["(inputs, targets)", "step="]),
        (wrong(batches=iter(BATCHES)), tl.ArgumentError, ["ended after 5 steps", "4 epochs", "function"]),
        (wrong(epochs=0), tl.ArgumentError, ["epochs", "at least 1"]),
        (wrong(steps=1.5), tl.ArgumentError, ["steps", "integer"]),
        (wrong(clip=0), tl.ArgumentError, ["clip", "above 0"]),
        (wrong(resume=True), tl.ArgumentError, ["no checkpoint", "checkpoint='"]),
        (wrong(checkpoint_every=3), tl.ArgumentError, ["no checkpoint"]),
        (wrong(checkpoint=lambda p: p), tl.FileError, ["is a folder"]),
        (wrong(checkpoint=lambda p: p / "no" / "run"), tl.FileError, ["no folder"]),
        (wrong(loss=lambda a, b: 1.0), tl.ArgumentError, ["Tensor of one number", "(loss, states)"]),
        (wrong(loss=lambda a, b: a), tl.ArgumentError, ["Tensor of one number"]),
        (wrong(loss=None, step=lambda m, b, s: (m(b[0]).sum(), None, None, None)), tl.ArgumentError, ["one number"]),
    ],
)
def test_wrong_calls_say_what_to_do(tmp_path, call, error, words):
    with pytest.raises(error) as caught:
        call(tmp_path)
    for word in ["`fit`", *words]:
        assert word in str(caught.value)


def test_a_file_of_another_run_changes_nothing(tmp_path):
    model, arguments = make()
    tl.save(tmp_path / "model", classifier(7))

    before = model.state_dict()
    with pytest.raises(tl.FileError, match="holds a model, but no run"):
        fit(model, **arguments, checkpoint=tmp_path / "model", resume=True)
    other, others = make()
    fit(other, **{**others, "schedule": None}, checkpoint=tmp_path / "run")
    with pytest.raises(tl.ArgumentError, match="other arguments: a schedule: False there, True here"):
        fit(model, **arguments, checkpoint=tmp_path / "run", resume=True)
    (tmp_path / "damaged").write_bytes((tmp_path / "run").read_bytes()[:-5])
    with pytest.raises(tl.FileError, match="damaged"):
        fit(model, **arguments, checkpoint=tmp_path / "damaged", resume=True)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


# ---------------------------------------------------------------------------------------------------------- progress
def test_progress_without_a_terminal_is_ten_lines(capsys):
    model, arguments = make()
    fit(model, **{**arguments, "progress": True}, metrics={"accuracy": lambda o, t: 0.5})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert re.fullmatch(r"step 20/20  loss [\d.]+  accuracy 0\.500  [\d.]+k? items/s", lines[-1])


def test_progress_in_a_terminal_is_one_line_of_80_columns(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    model, arguments = make("characters")
    fit(model, **{**arguments, "progress": True}, unit="chars")
    drawn = capsys.readouterr().err
    assert drawn.count("\n") == 1
    lines = [line for line in re.split(r"[\r\n]", drawn) if line.strip()]
    assert all(len(line) <= 80 for line in lines)
    assert re.search(r"100% .*21/21 .*loss [\d.]+  bits [\d.]+  [\d.]+k chars/s", lines[-1])


def test_silence(capsys):
    model, arguments = make()
    fit(model, **arguments)
    assert capsys.readouterr() == ("", "")


def test_the_optimizer_of_another_model_is_refused():
    model, other = tl.nn.Linear(2, 2), tl.nn.Linear(2, 2)
    batches = [(np.ones((3, 2), np.float32), np.zeros((3, 2), np.float32))]
    with pytest.raises(tl.ArgumentError, match="holds none of this model's parameters"):
        tl.fit(
            model,
            batches,
            loss=tl.nn.functional.mse_loss,
            optimizer=tl.optim.SGD(other.parameters(), lr=0.1),
            progress=False,
        )
