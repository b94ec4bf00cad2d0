"""Models as ONNX files: `export` for any runtime, `load(path).run(inputs)` for models made anywhere.

How a model becomes a file. Nothing is translated twice, and no layer knows of ONNX:

- **history**: the model runs, and every value remembers how it was computed (`tensor.complete_history`), also where no
  gradient flows. A call of a cell over time is one operation of that graph.
- **sizes**: it runs at several sizes; where the graphs differ in an integer, it is computed in the file from the sizes
  of its inputs. What does not follow from them is an error, or an axis of a fixed size.
- **rows**: an elementwise row is translated from its own scalar code, a user's too; the rows of arrays stand in a table.
- **recurrence**: the operator LSTM, GRU or RNN if the cell's equations are its, else a Scan of the cell's graph.
- The file is checked by ONNX's checker, and run against the model, before it is written.

How a file runs: `operators` has a line of NumPy for each operator; the recurrent ones find or declare the cell that
they are, and run on its kernels. What does not run here is said at loading, by name and type.
"""

from .exporter import export
from .model import Model, Results, load

__all__ = ["Model", "Results", "export", "load"]
