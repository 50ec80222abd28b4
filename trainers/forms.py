"""The forms in which K layers are computed as one.

Forms for processors are in order of preference; the compiled ones are there if their library was
built and the processor has their instructions. Of the forms for GPUs the fastest is taken.
"""

from __future__ import annotations

from trainers.compiled.form import Compiled
from trainers.compiled.library import available
from trainers.fused import Folded, Form, Native, RecordedFolded, RecordedUnfolded, Unfolded

DEFAULT = "folded"
FORMS: dict[str, Form] = {f"compiled_{level}": Compiled(level) for level in available()}
FORMS |= {DEFAULT: Folded(), "native": Native()}
GPU_FORMS: dict[str, Form] = {
    DEFAULT: Folded(),
    "recorded": RecordedFolded(),
    "unfolded": Unfolded(),
    "recorded_unfolded": RecordedUnfolded(),
}


def named(form: str) -> Form:
    """The form of a name.

    Raises:
        KeyError: there is none here.
    """
    return FORMS[form] if form in FORMS else GPU_FORMS[form]
