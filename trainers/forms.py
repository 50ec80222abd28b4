"""The forms in which K layers are computed as one, in order of preference.

The compiled forms are there if their library was built and the processor has their instructions.
"""

from __future__ import annotations

from trainers.compiled.form import Compiled
from trainers.compiled.library import available
from trainers.fused import Folded, Form, Native

DEFAULT = "folded"  # the form for GPUs
FORMS: dict[str, Form] = {f"compiled_{level}": Compiled(level) for level in available()}
FORMS |= {DEFAULT: Folded(), "native": Native()}
