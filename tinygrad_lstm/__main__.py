"""`python -m tinygrad_lstm` is the command `tinygrad-lstm`."""

import sys

from .cli import main

sys.exit(main())
