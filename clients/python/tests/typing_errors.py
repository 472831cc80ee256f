"""What the type checker refuses: mypy fails where one of these is no error, because the ignore is then unused."""

from gavel_client import Gavel, GavelReward, RewardItem

NEITHER: RewardItem = {"response": "Hello."}  # type: ignore[assignment]
NO_RESPONSE: RewardItem = {"instruction": "Hi."}  # type: ignore[assignment]
MISSPELT: RewardItem = {"instruction": "Hi.", "respnse": "Hello."}  # type: ignore[assignment]
NO_CRITERION: RewardItem = {"instruction": "Hi.", "response": "Hello.", "rubric": {"descriptions": {}}}  # type: ignore[typeddict-item]


def refused(gavel: Gavel) -> None:
    """Calls that are errors."""
    gavel.absolute(instruction="Hi.", response="Hello.")  # type: ignore[call-arg]
    gavel.absolute(instruction="Hi.", response="Hello.", rubric="x", modee="score")  # type: ignore[call-arg]
    GavelReward(rubric="x", missing="zero")  # type: ignore[arg-type]
    GavelReward(rubric="x", mode="scor")  # type: ignore[arg-type]
    gavel.decide("Hi.", [{"type": "predicate"}])  # type: ignore[list-item]
