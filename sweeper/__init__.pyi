from sweeper.api import launch as launch
from sweeper.api import load_spec as load_spec
from sweeper.api import open as open
from sweeper.errors import EngineError as EngineError
from sweeper.errors import HeldError as HeldError
from sweeper.errors import InputError as InputError
from sweeper.errors import SpecError as SpecError
from sweeper.errors import StoreError as StoreError
from sweeper.errors import SweeperError as SweeperError
from sweeper.errors import SweepHalted as SweepHalted
from sweeper.service.client import connect as connect
from sweeper.spec import Spec as Spec
from sweeper.sweeps import Sweep as Sweep
from sweeper.trainables import trainable as trainable

__version__: str
__all__: list[str]
