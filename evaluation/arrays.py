"""The array types that all of evaluation shares; each module's dimension key says the shapes."""

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
