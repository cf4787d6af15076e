# pyright: basic
"""The guard as a stage of a Grain pipeline: ``ds.pipe(guard_labels, schema, batch_size=128, quarantine=...)``.

Works on unbatched records in place of ``.batch(N)``, after ``.batch(N)``, and on a MapDataset. Grain ships no type
information, hence basic type checking in this package.
"""

from __future__ import annotations

from label_guard.errors import MissingDependencyError

try:
    import grain as _grain  # noqa: F401
except ImportError as error:
    raise MissingDependencyError.for_extra("grain", "grain") from error

from label_guard.grain.record_keys import with_record_keys
from label_guard.grain.stage import GuardIterDataset, guard_labels
from label_guard.grain.state import summary
from label_guard.grain.stateless import data_loader_operations
from label_guard.pipeline.coordination import stop_requested
from label_guard.pipeline.record_keys import keyed
from label_guard.pipeline.select import select_records
from label_guard.pipeline.state import strip_state

__all__ = [
    "GuardIterDataset",
    "data_loader_operations",
    "guard_labels",
    "keyed",
    "select_records",
    "stop_requested",
    "strip_state",
    "summary",
    "with_record_keys",
]
