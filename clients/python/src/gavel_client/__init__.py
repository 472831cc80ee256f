"""Client of the Gavel LLM-as-judge server.

>>> from gavel_client import Gavel
>>> with Gavel("http://127.0.0.1:8080") as gavel:  # doctest: +SKIP
...     gavel.absolute(instruction="2 + 2?", response="4", rubric="correctness").reward
"""

from ._async import AsyncGavel
from ._bulk import Empty
from ._calls import (
    AdaptiveSamples,
    Context,
    ConversationItem,
    Grading,
    InlineRubric,
    InstructionItem,
    Juror,
    JuryGrading,
    JurySettings,
    Message,
    Noise,
    Normalize,
    Question,
    RewardItem,
    Rubric,
    Sampling,
    Settings,
    TextPart,
    WeightedRubric,
)
from ._errors import (
    ConnectionFailed,
    DeadlineExceeded,
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
from ._items import BadItem
from ._retry import Retry
from ._sync import Gavel
from ._verdicts import (
    AbsoluteVerdict,
    Comparison,
    DecisionAnswer,
    Decisions,
    Feedback,
    Info,
    LeftOut,
    PreferencePair,
    Preferences,
    RankVerdict,
    RelativeVerdict,
    Rewards,
    RubricEntry,
)
from .data import Judge
from .trl import GavelReward, MissingReward

__version__ = "0.1.0"

__all__ = [
    "AbsoluteVerdict",
    "AdaptiveSamples",
    "AsyncGavel",
    "BadItem",
    "Comparison",
    "ConnectionFailed",
    "Context",
    "ConversationItem",
    "DeadlineExceeded",
    "DecisionAnswer",
    "Decisions",
    "Empty",
    "Feedback",
    "Forbidden",
    "Gavel",
    "GavelError",
    "GavelReward",
    "Grading",
    "Info",
    "InlineRubric",
    "InstructionItem",
    "InvalidRequest",
    "Judge",
    "Juror",
    "JuryGrading",
    "JurySettings",
    "LeftOut",
    "Message",
    "MissingReward",
    "Noise",
    "Normalize",
    "NotFound",
    "PreferencePair",
    "Preferences",
    "Problem",
    "ProblemDetails",
    "Question",
    "RankVerdict",
    "RateLimited",
    "RelativeVerdict",
    "Retry",
    "RewardItem",
    "Rewards",
    "Rubric",
    "RubricEntry",
    "Sampling",
    "ServerFailed",
    "Settings",
    "TextPart",
    "TimedOut",
    "Unavailable",
    "UnexpectedAnswer",
    "WeightedRubric",
]
