"""Modules: what they own, under which names, and what a state dict may and may not do to them."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import nn


class Net(nn.Module):
    """Attributes of every kind: own parameter, constant, private constant, list, dict, tuple, shared part."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.first = nn.Linear(2, 3, seed=rng)
        self.gain = tl.tensor(rng.standard_normal(3).astype(np.float32), requires_grad=True)
        self.mask = tl.tensor([1.0, 0.0, 1.0])
        self._scratch = tl.zeros(7)
        self.layers = [nn.Linear(3, 3, seed=rng), {"deep": nn.Linear(3, 3, bias=False, seed=rng)}]
        self.pair = (tl.ones(1, requires_grad=True), 5)
        self.again = self.first
        self.drop = nn.Dropout(0.5, seed=rng)
        self.words = "not a parameter"

    def forward(self, x):
        return self.layers[0](self.drop(tl.tanh(self.first(x)) * self.gain * self.mask)) * self.pair[0]


def test_names_follow_paths_and_torchs_order():
    net = Net()
    names = ["gain", "pair.0", "first.weight", "first.bias", "layers.0.weight", "layers.0.bias", "layers.1.deep.weight"]
    assert [name for name, _ in net.named_parameters()] == names
    assert [id(p) for p in net.parameters()] == [id(p) for _, p in net.named_parameters()]
    assert [name for name, _ in net.named_modules()] == ["", "first", "layers.0", "layers.1.deep", "drop"]
    assert list(net.state_dict()) == [
        "gain", "mask", "pair.0", "first.weight", "first.bias", "layers.0.weight", "layers.0.bias",
        "layers.1.deep.weight", "again.weight", "again.bias",
    ]  # fmt: skip
    assert net.num_parameters == 3 + 1 + 9 + 12 + 9


def test_parameters_may_be_asked_for_twice():
    parameters = Net().parameters()
    assert len(list(parameters)) == len(list(parameters)) == 7


def test_state_dict_is_a_copy():
    net = nn.Linear(2, 2, seed=0)
    state = net.state_dict()
    before = net.weight.numpy().copy()
    state["weight"][:] = 7
    assert np.array_equal(net.weight.numpy(), before)
    net.load_state_dict(state)
    state["weight"][:] = 8
    assert np.array_equal(net.weight.numpy(), np.full((2, 2), 7))


def test_round_trip_is_bit_exact(rng):
    one, two = Net(1), Net(2)
    two.load_state_dict(one.state_dict())
    assert all(np.array_equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    x = rng.standard_normal((4, 2)).astype(np.float32)
    assert np.array_equal(one.eval()(x).numpy(), two.eval()(x).numpy())


def test_a_frozen_parameter_is_saved_but_not_trained():
    net = nn.Linear(2, 2, seed=0)
    net.weight.requires_grad = False
    assert [name for name, _ in net.named_parameters()] == ["bias"]
    assert list(net.state_dict()) == ["weight", "bias"]


def test_values_are_cast_to_the_parameters_dtype():
    net = nn.Linear(2, 1, seed=0)
    state = {"weight": np.array([[0.1, 1e-50]]), "bias": np.array([3])}
    net.load_state_dict(state)
    assert net.weight.dtype == np.float32
    assert np.array_equal(net.weight.numpy(), np.array([[0.1, 0.0]], np.float32))
    assert net.bias.item() == 3.0
    net.load_state_dict({"weight": np.array([[np.inf, np.nan]]), "bias": np.array([0.0])})
    assert np.array_equal(net.weight.numpy(), np.array([[np.inf, np.nan]], np.float32), equal_nan=True)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda s: s.pop("bias"), tl.ShapeError, ["bias: missing", "nothing was changed", "strict=False"]),
        (lambda s: s.update(extra=np.zeros(1)), tl.ShapeError, ["extra: unexpected"]),
        (lambda s: s.update(bias=np.zeros(3)), tl.ShapeError, ["bias: is (2,) here, (3,) in the state"]),
        (
            lambda s: (s.pop("bias"), s.update(b=0.0)),
            tl.ShapeError,
            ["bias: missing", "b: unexpected", "another model"],
        ),
        (lambda s: s.update(bias=np.array([1j, 2j])), tl.ArgumentError, ["bias", "numbers"]),
        (lambda s: s.update(bias=np.array(["a", "b"])), tl.ArgumentError, ["bias", "numbers"]),
        (lambda s: s.update(bias=[[1], [2, 3]]), tl.ArgumentError, ["bias is no array"]),
        (lambda s: s.update(bias=np.array([1e300, 0])), tl.ArgumentError, ["bias", "too large for float32"]),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, kind, words):
    net = nn.Linear(2, 2, seed=0)
    before = net.state_dict()
    state = {name: value + 1 for name, value in before.items()}
    change(state)
    with pytest.raises(kind) as error:
        net.load_state_dict(state)
    assert all(word in str(error.value) for word in words), error.value
    assert all(np.array_equal(before[name], value) for name, value in net.state_dict().items())


def test_not_strict_takes_what_both_have():
    net = nn.Linear(2, 2, seed=0)
    found = net.load_state_dict({"weight": np.ones((2, 2)), "other": np.ones(1)}, strict=False)
    assert found == (["bias"], ["other"])
    assert np.array_equal(net.weight.numpy(), np.ones((2, 2)))
    with pytest.raises(tl.ShapeError):  # a wrong shape is an error all the same
        net.load_state_dict({"weight": np.ones((3, 2))}, strict=False)


def test_floats_do_not_go_into_integers():
    class Counter(nn.Module):
        def __init__(self):
            self.count = tl.tensor(np.array(3))

    counter = Counter()
    with pytest.raises(tl.ArgumentError, match="count is int64 here, which cannot hold float64"):
        counter.load_state_dict({"count": np.array(2.5)})
    counter.load_state_dict({"count": np.array(4, np.int32)})
    assert counter.count.item() == 4


def test_shared_parameters():
    class Tied(nn.Module):
        def __init__(self):
            self.table = nn.Embedding(4, 3, seed=0)
            self.head = nn.Linear(3, 4, bias=False, seed=1)
            self.head.weight = self.table.weight

    tied = Tied()
    assert [name for name, _ in tied.named_parameters()] == ["table.weight"]
    assert list(tied.state_dict()) == ["table.weight", "head.weight"]
    tied.load_state_dict({"table.weight": np.ones((4, 3))})  # one name is enough
    assert np.array_equal(tied.head.weight.numpy(), np.ones((4, 3)))
    with pytest.raises(tl.ShapeError, match="one shared parameter here, but two values"):
        tied.load_state_dict({"table.weight": np.ones((4, 3)), "head.weight": np.zeros((4, 3))})
    tied.load_state_dict({"table.weight": np.full((4, 3), np.nan), "head.weight": np.full((4, 3), np.nan)})


def test_a_module_inside_itself_is_walked_once():
    net = nn.Linear(1, 1, seed=0)
    child = nn.Linear(1, 1, seed=1)
    child.parent, net.child = net, child
    assert [name for name, _ in net.named_modules()] == ["", "child"]
    assert list(net.state_dict()) == ["weight", "bias", "child.weight", "child.bias"]


def test_train_and_eval_reach_every_part():
    net = Net()
    assert net.training and net.drop.training
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    net.train()
    assert all(module.training for module in net.modules())
    with pytest.raises(tl.ArgumentError, match="mode is True or False"):
        net.train("yes")


def test_zero_grad():
    net = Net()
    net(np.ones((1, 2), np.float32)).sum().backward()
    assert net.gain.grad is not None
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_a_graph_of_old_values_is_refused():
    net = nn.Linear(2, 1, seed=0)
    loss = net(np.ones((1, 2), np.float32)).sum()
    net.load_state_dict(net.state_dict())
    with pytest.raises(tl.GradientError, match="replaced"):
        loss.backward()


def test_a_module_without_forward_says_so():
    class Empty(nn.Module):
        pass

    with pytest.raises(tl.ArgumentError, match="`Empty`: has no forward"):
        Empty()(1)


def test_repr_is_a_tree_with_counts():
    assert repr(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Sequential(nn.Dropout(0.25)))) == (
        "Sequential(  # 16 parameters\n"
        "  (0): Linear(in_features=3, out_features=4, bias=True)  # 16 parameters\n"
        "  (1): Tanh()\n"
        "  (2): Sequential(  # 0 parameters\n"
        "    (0): Dropout(p=0.25)\n"
        "  )\n"
        ")"
    )


def test_copies_are_independent():
    net = Net()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert all(
            np.array_equal(a, b) for a, b in zip(net.state_dict().values(), twin.state_dict().values(), strict=True)
        )
        assert twin.again is twin.first and len(twin.parameters()) == 7
        twin.load_state_dict({name: value * 0 for name, value in twin.state_dict().items()})
        assert np.any(net.gain.numpy() != 0)


# ---------------------------------------------------------------------------------------------------------- generators
KINDS = [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64]


@pytest.mark.parametrize("kind", KINDS)
def test_generators_go_on_where_they_were(kind):
    net = nn.Sequential(
        nn.Dropout(0.5, seed=np.random.Generator(kind(3))),
        nn.Sequential(nn.Dropout(0.3, seed=np.random.Generator(kind(4)))),
    )
    x = np.ones(50, np.float32)
    net(x)
    state = net.rng_state()
    assert list(state) == ["0.rng", "1.0.rng"]
    after = net(x).numpy()
    assert not np.array_equal(net(x).numpy(), after)
    net.set_rng_state(state)
    assert np.array_equal(net(x).numpy(), after)


def test_states_of_generators_are_checked_before_any_is_set():
    net = nn.Sequential(nn.Dropout(seed=0), nn.Dropout(seed=1))
    before = net.rng_state()
    other = nn.Sequential(nn.Dropout(seed=5), nn.Dropout(seed=np.random.Generator(np.random.Philox(0)))).rng_state()
    for wrong, words in [
        (other, "1.rng is a PCG64 here, not a Philox"),
        ({"0.rng": before["0.rng"]}, "generators here are"),
        ({**other, "1.rng": {"bit_generator": "PCG64", "state": 3}}, "1.rng: this is no state"),
        ({**other, "1.rng": 5}, "1.rng: this is no state"),
        (7, "generators here are"),
    ]:
        with pytest.raises(tl.ArgumentError, match=words):
            net.set_rng_state(wrong)
        assert net.rng_state() == before


@pytest.mark.parametrize(
    ("kind", "where", "value"), [("MT19937", "pos", 10**6), ("MT19937", "pos", -5), ("Philox", "buffer_pos", -40)]
)
def test_a_position_outside_a_generators_buffer_is_refused(kind, where, value):
    """NumPy would read whatever lies there in memory."""
    drop = nn.Dropout(seed=np.random.Generator(getattr(np.random, kind)(0)))
    state = copy.deepcopy(drop.rng_state())
    (state["rng"]["state"] if kind == "MT19937" else state["rng"])[where] = value
    with pytest.raises(tl.ArgumentError, match="no state of a generator"):
        drop.set_rng_state(state)
