"""Makes keras.keras, keras_legacy.h5 and keras.safetensors, what Keras 3 writes and computes: run with Keras, in this folder."""

import keras
import numpy as np
from keras import layers
from safetensors.numpy import save_file

rng = np.random.default_rng(0)
found: dict[str, np.ndarray] = {}


def numbers(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def fill(layer):
    """Random numbers in every array: those that a layer begins with have zeros."""
    layer.set_weights([numbers(*w.shape) / 2 for w in layer.get_weights()])


def keep(name, arrays):
    for k, array in enumerate(arrays):
        found[f"{name}/{k}"] = np.asarray(array)


def case(name, layer, x, mask=None):
    """The arrays of a layer, what goes in and what comes out."""
    layer(x)
    fill(layer)
    out = layer(x) if mask is None else layer(x, mask=mask)
    keep(f"{name}/weights", layer.get_weights())
    keep(f"{name}/in", [x] if mask is None else [x, mask])
    keep(f"{name}/out", out if isinstance(out, list | tuple) else [out])


x, mask = numbers(2, 4, 3), np.arange(4) < np.array([[4], [2]])
both = {"return_sequences": True, "return_state": True}
case("lstm", layers.LSTM(5, **both), x)
case("lstm_unbiased", layers.LSTM(5, use_bias=False, **both), x)
case("lstm_masked", layers.LSTM(5, **both), x, mask)
case("lstm_masked_zero", layers.LSTM(5, zero_output_for_mask=True, **both), x, mask)
case("gru", layers.GRU(5, **both), x)
case("gru_unbiased", layers.GRU(5, use_bias=False, **both), x)
case("gru_reset_before", layers.GRU(5, reset_after=False, **both), x)
case("rnn", layers.SimpleRNN(5, **both), x)
case("rnn_relu", layers.SimpleRNN(5, activation="relu", **both), x)
case("lstm_both", layers.Bidirectional(layers.LSTM(5, **both)), x)
case("gru_both_masked", layers.Bidirectional(layers.GRU(5, **both)), x, mask)
case("lstm_stacked", layers.RNN([layers.LSTMCell(5), layers.LSTMCell(5)], return_sequences=True), x)
case("dense", layers.Dense(2), x)
case("embedding", layers.Embedding(7, 3), np.array([[1, 6, 0]]))
case("norm", layers.LayerNormalization(), x)
case("norm_scale", layers.LayerNormalization(center=False), x)

inner = keras.Sequential(
    [keras.Input((None, 4)), layers.SimpleRNN(2, return_sequences=True, name="deep")], name="inner"
)
model = keras.Sequential(
    [
        keras.Input((None,), dtype="int32"),
        layers.Embedding(7, 3, name="words"),
        layers.Bidirectional(layers.LSTM(2, return_sequences=True, dropout=0.1), name="reader"),
        inner,
        layers.GRU(3, name="a_gru"),
        layers.LayerNormalization(name="norm"),
        layers.Dense(2, name="answer"),
    ]
)
for layer in model.layers:
    fill(layer)
ids = np.array([[1, 2, 3, 6], [0, 5, 4, 1]])
keep("model/in", [ids])
keep("model/out", [model(ids)])
model.save("keras.keras")
model.save("keras_legacy.h5", include_optimizer=False)
save_file({name: np.ascontiguousarray(array) for name, array in found.items()}, "keras.safetensors")
