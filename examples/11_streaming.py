# %% [markdown]
# # One value at a time
#
# In most chapters so far a whole sequence lay ready when the network began to read. A sensor, a microphone or a market
# does not work like that: a value arrives, an answer is wanted, and then comes the next value. A recurrent network is made
# for this. All that it knows of the past is in its states, here 64 numbers, so one step costs the same after ten values as
# after ten million.
#
# Our signal is one of the longest that there are: monthly counts of the spots on the sun, from 1749 to 1983. They come and
# go in about eleven years, never quite alike. We train a small LSTM on the months before 1930, let it say what the number
# will be *twelve months later*, and then live through the time after that with it, month by month: stopping in the
# middle, saving to a file, going on from there, and with an eye on the clock.

# %%
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_lstm as tl

F = tl.nn.functional

# %% [markdown]
# ## The signal
#
# `tl.data.sunspots()` gives the months and the numbers. Where the number is large it also jumps more from month to month;
# its square root jumps about alike everywhere, which is easier to learn. We forecast on that scale, and go back to
# numbers at the end.

# %%
AHEAD = 12  # months
BORDER = np.datetime64("1930-01")  # what comes before is learned from


def scaled(numbers: np.ndarray) -> np.ndarray:
    """About -1 to 2, with fluctuations of one size."""
    return (np.sqrt(numbers) / 5 - 1).astype(np.float32)


def unscaled(values: np.ndarray) -> np.ndarray:
    """The inverse of `scaled`."""
    return (np.maximum(values + 1, 0) * 5) ** 2


# %% [markdown]
# ## What is to be beaten
#
# The simplest forecast is "as it is now". A better one needs no network either: a weighted sum of the latest values, the
# weights chosen to fit the months before 1930 best (least squares; "autoregression" to statisticians). With 24 months
# it sees little more than whether the number rises or falls, with 132 months a whole cycle of the sun.


# %%
def autoregression(values: np.ndarray, border: int, width: int) -> np.ndarray:
    """The forecasts for every month from the border on, from the latest `width` values each."""
    now = np.arange(width - 1, len(values) - AHEAD)
    past = np.stack([values[now - k] for k in range(width)] + [np.ones(len(now))], axis=1)
    known = now + AHEAD < border
    weights = np.linalg.lstsq(past[known], values[now + AHEAD][known], rcond=None)[0]
    return (past @ weights)[~known]


def error(forecasts: np.ndarray, numbers: np.ndarray) -> float:
    """Root of the mean squared error, in sunspot numbers."""
    return float(np.sqrt(np.mean((unscaled(forecasts) - numbers) ** 2)))


# %% [markdown]
# ## The network
#
# It can be called in two ways. `forward` reads a whole sequence, for training. `step` reads one value, with the states that
# the step before returned, and gives a forecast and the new states. The weights are the same. `memory.step` keeps nothing
# that a gradient would need, and this makes it quick.


# %%
class Forecaster(tl.nn.Module):
    """The value so many months later, from all values so far."""

    def __init__(self, hidden: int = 32, seed: int = 0):
        generator = np.random.default_rng(seed)
        self.memory = tl.nn.LSTM(1, hidden, seed=generator)
        self.readout = tl.nn.Linear(hidden, 1, seed=generator)

    def forward(self, values: np.ndarray) -> tl.Tensor:
        """values (T, B) -> a forecast at each step (T, B)."""
        outputs, _ = self.memory(values[..., None])
        return self.readout(outputs)[..., 0]

    def step(self, value: np.ndarray, states: Any = None) -> tuple[tl.Tensor, Any]:
        """One value (1,) -> the forecast (1,), and the states for the next step."""
        output, states = self.memory.step(value, states)
        with tl.no_grad():
            return self.readout(output), states


# %% [markdown]
# For training we cut pieces of 25 years out of the time before 1930, 32 at once, and begin anew with each. A forecast counts
# from the fourth year of a piece on: before, the network can hardly know where in its cycle the sun is. Some noise on what
# it reads keeps it from learning 181 years by heart.


# %%
def train(values: np.ndarray, border: int, steps: int, seed: int) -> tuple[Forecaster, tl.train.Fit]:
    """A forecaster that knows the months before the border only."""
    model, generator = Forecaster(seed=seed), np.random.default_rng([seed, 1])
    optimizer = tl.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-3)

    def batches() -> Iterator[np.ndarray]:
        while True:
            yield generator.integers(0, border - AHEAD - 300, 32) + np.arange(300)[:, None]  # (T, B) months

    def step(model: Forecaster, at: np.ndarray, states: None) -> tl.Tensor:
        heard = values[at] + 0.2 * generator.standard_normal(at.shape, np.float32)
        return F.mse_loss(model(heard)[36:], values[at + AHEAD][36:])

    run = tl.fit(
        model,
        batches,
        step=step,
        optimizer=optimizer,
        schedule=tl.optim.OneCycleLR(optimizer, 1e-2, total_steps=steps),
        clip=1.0,
        steps=steps,
        generators=[generator],
        items=lambda at: at.size,
        unit="months",
    )
    return model, run


# %% [markdown]
# ## Living through it, with an interruption
#
# We now feed the months one by one. In the middle, everything is stopped: the model and its states are written to one file
# with `tl.save`, as if the machine had to be restarted. Then a new model is made, filled from the file with `tl.load`,
# and goes on where the old one was. Facts that are given to `tl.save` by name (numbers, texts, arrays) come back
# from `tl.load`, so the states travel with the model.


# %%
def stream(model: Forecaster, values: np.ndarray, states: Any = None) -> tuple[np.ndarray, Any, np.ndarray]:
    """The forecasts (N,), the states after them, and how long each step took, in microseconds (N,)."""
    forecasts, microseconds = np.empty(len(values), np.float32), np.empty(len(values))
    for k in range(len(values)):
        begin = time.perf_counter()
        forecast, states = model.step(values[k : k + 1], states)
        forecasts[k] = forecast.numpy()[0]
        microseconds[k] = 1e6 * (time.perf_counter() - begin)
    return forecasts, states, microseconds


def interrupted_stream(model: Forecaster, values: np.ndarray, file: Path) -> tuple[np.ndarray, np.ndarray]:
    """As `stream`, but in the middle the model is saved, thrown away, and loaded into a new one."""
    half = len(values) // 2
    first, (h, c), before = stream(model, values[:half])
    tl.save(file, model, h=h.numpy(), c=c.numpy())

    fresh = Forecaster(seed=12345)  # with other weights, until they are loaded
    facts = tl.load(file, fresh)
    second, _, after = stream(fresh, values[half:], (tl.tensor(facts["h"]), tl.tensor(facts["c"])))
    return np.concatenate([first, second]), np.concatenate([before, after])


# %% [markdown]
# Is it the same network? We compare its forecasts with those of a stream that was never interrupted, and the outputs of
# the LSTM fed step by step with those of one call for the whole sequence. The largest differences are {interrupted:g} and
# {step_by_step:g}; 0 means that they are the same to the last bit.


# %%
def difference_step_by_step(model: Forecaster, values: np.ndarray) -> float:
    """The largest difference between the LSTM's outputs in one call and step by step."""
    with tl.no_grad():
        whole = model.memory(values[:, None])[0].numpy()  # (T, hidden): one sequence, no batch
    states, difference = None, 0.0
    for k in range(len(values)):
        output, states = model.memory.step(values[k : k + 1], states)
        difference = max(difference, float(np.abs(output.numpy() - whole[k]).max()))
    return difference


# %% [markdown]
# ## The clock
#
# What would be the alternative to carrying states? To read the whole history again for every new value. That takes longer
# and longer, while a step takes the same time whatever came before.
#
# ![The time for the next forecast, against how many months have been read, both axes logarithmic: one step (the median of
# the two years around), or all months again.](11_streaming/history.svg)


# %%
def time_to_read_again(model: Forecaster, values: np.ndarray, lengths: np.ndarray, trials: int) -> np.ndarray:
    """Microseconds, the median of some trials, to get the latest forecast by reading so many values."""
    times = np.empty((trials + 1, len(lengths)))
    with tl.no_grad():
        for k, n in np.ndindex(times.shape):
            begin = time.perf_counter()
            model(values[: lengths[n], None])
            times[k, n] = 1e6 * (time.perf_counter() - begin)
    return np.median(times[1:], axis=0)


# %% [markdown]
# On the machine that made this page, half of the steps took less than {median:.1f} microseconds and 99 of 100 less than
# {slowest:.1f}, the readout included.
#
# ![How long a step takes: so many percent of the steps took at most this. The slowest half percent is left
# out.](11_streaming/latency.svg)
#
# ## The forecast
#
# A year ahead, "as it is now" is off by {persistence:.1f} on average (root of the mean square), the weighted sum of 24
# months by {autoregression_24:.1f}, that of 132 months by {autoregression_132:.1f}, the LSTM by {lstm:.1f}. The network
# gets a single number at each step and must find out for itself what to remember. A weighted sum over a whole cycle is a
# strong rival on a signal as regular as this one; it has to keep 132 values at hand.
#
# ![The sunspot numbers of the months, and what the network had said twelve months before
# each.](11_streaming/forecast.svg)


# %%
def pictures(
    folder: Path,
    months: np.ndarray,
    numbers: np.ndarray,
    forecasts: np.ndarray,
    taken: np.ndarray,
    again: tuple[np.ndarray, np.ndarray],
) -> None:
    """The forecast, the latency of the steps, and the time against the length of the history."""
    folder.mkdir(parents=True, exist_ok=True)
    years = 1970 + months.astype(int) / 12
    curves = {"counted": (years, numbers), "said a year before": (years, unscaled(forecasts))}
    title = "sunspots of the month, and the forecast"
    tl.plot.lines(curves, x_label="year", y_label="sunspot number", marks=False, title=title).save(
        folder / "forecast.svg"
    )
    percent = np.linspace(0, 99.5, 200)
    tl.plot.lines(
        {"one step": (percent, np.percentile(taken, percent))},
        x_label="percent of the steps", y_label="microseconds, at most", marks=False, title="latency of a step",
    ).save(folder / "latency.svg")  # fmt: skip
    lengths, times = again
    step = (lengths, np.array([np.median(taken[max(0, n - 12) : n + 12]) for n in lengths]))
    tl.plot.lines(
        {"read all again": (lengths, times), "one step": step},
        x_label="months read so far", y_label="microseconds", log_x=True, log_y=True, title="time for the next forecast",
    ).save(folder / "history.svg")  # fmt: skip


def main(quick: bool = False, seed: int = 0, folder: str | Path = "pictures") -> dict[str, float | str]:
    """Train, stream, interrupt, measure, print and draw; `quick` trains for fewer steps."""
    months, numbers = tl.data.sunspots()
    values, border = scaled(numbers), int(np.searchsorted(months, BORDER))
    model, _ = train(values, border, 120 if quick else 400, seed)
    truth = numbers[border:]
    results: dict[str, Any] = {"persistence": error(values[border - AHEAD : -AHEAD], truth)}
    for width in (24, 132):
        results[f"autoregression_{width}"] = error(autoregression(values, border, width), truth)

    whole, _, _ = stream(model, values)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "forecaster.safetensors"
        forecasts, taken = interrupted_stream(model, values, file)
        results["kilobytes"] = file.stat().st_size / 1024
    said = forecasts[border - AHEAD : -AHEAD]  # for every month from the border on
    results["lstm"] = error(said, truth)
    results["interrupted"] = float(np.abs(forecasts - whole).max())
    results["step_by_step"] = difference_step_by_step(model, values)
    results["median"], results["slowest"] = (float(np.percentile(taken, p)) for p in (50, 99))
    results["bar"] = (0.9 if quick else 0.8) * results["persistence"]
    lengths = np.array([1, 12, 60, 240, 1200, len(values)])
    again = time_to_read_again(model, values, lengths, 3 if quick else 15)

    print(f"sunspots a year ahead, {len(truth)} months from {BORDER} on: root mean square error")
    print(f"  as it is now                     {results['persistence']:6.1f}")
    print(f"  weighted sum of 24 months        {results['autoregression_24']:6.1f}")
    print(f"  weighted sum of 132 months       {results['autoregression_132']:6.1f}")
    print(f"  LSTM of 32, month by month       {results['lstm']:6.1f}")
    results["reached"] = float(results["lstm"] <= results["bar"])
    reached = "reached" if results["reached"] else "missed"
    print(f"  the bar                          {results['bar']:6.1f}   {reached}")
    print(f"saved in the middle ({results['kilobytes']:.0f} kB) and loaded: differs by {results['interrupted']:g}")
    print(f"step by step and in one call: differ by {results['step_by_step']:g}")
    print(f"a step: {results['median']:.1f} microseconds (median), at most {results['slowest']:.1f} (99 of 100)")
    print(f"reading all {len(values)} months again: {again[-1]:.0f} microseconds")
    pictures(Path(folder) / "11_streaming", months[border:], truth, said, taken, (lengths, again))
    return results


# %% [markdown]
# This was the last chapter. From here on it is your data ([train a layer on it](../howto/train.md)), or your idea
# ([declare a cell](../howto/cells.md)).

# %%
if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
