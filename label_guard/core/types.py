"""Names of array types. Imports NumPy, so what ``lint`` starts with does not import it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rows = NDArray[np.intp]  # positions of records in a batch
