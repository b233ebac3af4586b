"""dqnlab's core: layers, nets, losses, optimizers, training state, checkpoints, metrics.

It knows no game and no agent. `agents` and `envs` import it; it imports neither.

from dqnlab import Model                    # fit, evaluate, predict, save, load
from dqnlab import Classifier, Regressor    # scikit-learn estimators
from dqnlab.fit import fit                  # the loop itself
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dqnlab.estimator import Classifier as Classifier
    from dqnlab.estimator import Regressor as Regressor
    from dqnlab.model import Model as Model

_FRONTS = {"Model": "model", "Classifier": "estimator", "Regressor": "estimator"}


def __getattr__(name: str) -> Any:
    # Not imported before they are asked for: scikit-learn alone takes a second.
    if name not in _FRONTS:
        raise AttributeError(f"module 'dqnlab' has no attribute {name!r}")
    return getattr(importlib.import_module(f"dqnlab.{_FRONTS[name]}"), name)
