"""Client of the Gavel LLM-as-judge server.

>>> from gavel_client import Gavel
>>> with Gavel("http://127.0.0.1:8080") as gavel:  # doctest: +SKIP
...     gavel.absolute(instruction="2 + 2?", response="4", rubric="correctness").reward
"""

from ._async import AsyncGavel
from ._calls import Context, Grading, Message, Normalize, RewardItem, Rubric, Sampling, WeightedRubric
from ._errors import (
    ConnectionFailed,
    Forbidden,
    GavelError,
    InvalidRequest,
    NotFound,
    Problem,
    ProblemDetails,
    RateLimited,
    ServerFailed,
    TimedOut,
    Unavailable,
    UnexpectedAnswer,
)
from ._retry import Retry
from ._sync import Gavel
from ._verdicts import (
    AbsoluteVerdict,
    Comparison,
    Feedback,
    LeftOut,
    PreferencePair,
    Preferences,
    RankVerdict,
    RelativeVerdict,
    Rewards,
)
from .data import Judge
from .trl import GavelReward, MissingReward

__version__ = "0.1.0"

__all__ = [
    "AbsoluteVerdict",
    "AsyncGavel",
    "Comparison",
    "ConnectionFailed",
    "Context",
    "Feedback",
    "Forbidden",
    "Gavel",
    "GavelError",
    "GavelReward",
    "Grading",
    "InvalidRequest",
    "Judge",
    "LeftOut",
    "Message",
    "MissingReward",
    "Normalize",
    "NotFound",
    "PreferencePair",
    "Preferences",
    "Problem",
    "ProblemDetails",
    "RankVerdict",
    "RateLimited",
    "RelativeVerdict",
    "Retry",
    "RewardItem",
    "Rewards",
    "Rubric",
    "Sampling",
    "ServerFailed",
    "TimedOut",
    "Unavailable",
    "UnexpectedAnswer",
    "WeightedRubric",
]
