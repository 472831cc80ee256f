"""Writes reference.json: made-up items, and what scipy, scikit-learn and krippendorff say of them.

    python3 -m venv venv && venv/bin/pip install scipy scikit-learn krippendorff
    venv/bin/python tests/agreement/reference.py > tests/agreement/reference.json

The Rust test of src/domain/agreement compares its own figures with these to 1e-9.
"""

import json
import sys

import krippendorff
import numpy as np
from scipy import stats
from sklearn import metrics

random = np.random.default_rng(20261130)


def scored(count, levels, distribution):
    """Items with a label between the levels, and a judge that follows it roughly."""
    items = []
    for i in range(count):
        votes = random.integers(1, levels + 1, 3)
        label = round(float(votes.mean()), 4)
        expected = float(np.clip(0.6 * label + 0.4 * random.uniform(1, levels) + random.normal(0, 0.4), 1, levels))
        score = int(np.clip(round(expected + random.normal(0, 0.3)), 1, levels))
        items.append({
            "instruction": i // 3, "label": label, "score": score,
            "expected": round(expected, 3) if distribution else float(score), "length": int(random.integers(1, 90)),
        })
    return items


def of_scores(items, levels):
    label = np.array([item["label"] for item in items])
    expected = np.array([item["expected"] for item in items])
    score = np.array([item["score"] for item in items])
    length = np.array([item["length"] for item in items])
    rounded = np.floor(label + 0.5).astype(int)
    names = list(range(1, levels + 1))
    return {
        "pearson": stats.pearsonr(label, expected).statistic,
        "spearman": stats.spearmanr(label, expected).statistic,
        "kendall_tau_b": stats.kendalltau(label, expected, variant="b").statistic,
        "mae": metrics.mean_absolute_error(label, expected),
        "quadratic_kappa": metrics.cohen_kappa_score(rounded, score, labels=names, weights="quadratic"),
        "exact": metrics.accuracy_score(rounded, score),
        "off_by_one": float(np.mean(np.abs(rounded - score) <= 1)),
        "confusion": metrics.confusion_matrix(rounded, score, labels=names).tolist(),
        "length_spearman": stats.spearmanr(length, label).statistic,
    }


def pairs(count):
    names = np.array(["A", "B", "tie"])
    items = []
    for i in range(count):
        truth = random.choice(names, p=[0.45, 0.4, 0.15])
        votes = [str(random.choice(names, p=[0.15, 0.15, 0.1] + 0.6 * (names == truth))) for _ in range(random.integers(0, 5))]
        lean = {"A": 0.65, "B": 0.35, "tie": 0.5}[str(truth)]
        # Twentieths, so that some are equal and some are one half.
        probability = float(np.clip(round(random.normal(lean, 0.2) * 20) / 20, 0, 1))
        consistent = bool(random.uniform() < 0.3 + abs(probability - 0.5) * 1.4) and probability != 0.5
        preference = ("A" if probability > 0.5 else "B") if consistent else "tie"
        items.append({
            "instruction": i // 2, "label": str(truth), "votes": votes, "probability_a": probability,
            "preference": preference, "consistent": consistent, "first_preferred": None if consistent else bool(random.uniform() < 0.7),
            "lengths": [int(n) for n in random.integers(5, 12, 2)],
        })
    return items


def alpha(items, with_judge):
    """Of items with votes; voters are columns that not everybody fills."""
    names = ["A", "B", "tie"]
    units = [item["votes"] + [item["preference"]] * with_judge for item in items if item["votes"]]
    width = max(map(len, units))
    data = [[names.index(vote) for vote in unit] + [np.nan] * (width - len(unit)) for unit in units]
    return krippendorff.alpha(reliability_data=np.array(data).T, level_of_measurement="nominal")


def of_pairs(items):
    label = np.array([item["label"] for item in items])
    preference = np.array([item["preference"] for item in items])
    probability = np.array([item["probability_a"] for item in items])
    lengths = np.array([item["lengths"] for item in items], dtype=float)
    leaning = np.where(probability > 0.5, "A", np.where(probability < 0.5, "B", "tie"))
    settled = label != "tie"
    decided = settled & (leaning != "tie")
    unlike = lengths[:, 0] != lengths[:, 1]
    longer = np.where(lengths[:, 0] > lengths[:, 1], "A", "B")
    biased = decided & unlike
    came_true, forecast = (label == "A")[settled].astype(int), probability[settled]
    first = [item["first_preferred"] for item in items if not item["consistent"]]
    return {
        "accuracy_non_ties": metrics.accuracy_score(label[decided], leaning[decided]),
        "accuracy_ties_half": float(np.mean(np.where(leaning == "tie", 0.5, leaning == label)[settled])),
        "accuracy": metrics.accuracy_score(label, preference),
        "cohen_kappa": metrics.cohen_kappa_score(label, preference),
        "position_consistency": float(np.mean([item["consistent"] for item in items])),
        "first_lean": float(np.mean(first)),
        "length_bias": float(np.mean(leaning[biased] == longer[biased]) - np.mean(label[biased] == longer[biased])),
        "length_correlation": stats.spearmanr(np.log(lengths[:, 0] / lengths[:, 1]), probability).statistic,
        "krippendorff_alpha": alpha(items, True),
        "votes_alpha": alpha(items, False),
        "longer": metrics.accuracy_score(label[settled & unlike], longer[settled & unlike]),
        "always_a": float(np.mean(label[settled] == "A")),
        "auc": metrics.roc_auc_score(came_true, forecast),
        "brier": metrics.brier_score_loss(came_true, forecast),
    }


def forecasts(count):
    """Probabilities that are all different, for bins whose edges leave no choice."""
    probability = random.permutation(np.linspace(0.001, 0.999, count))
    return [{"probability_a": float(p), "label": "A" if random.uniform() < p ** 1.5 else "B"} for p in probability]


def ece(items, bins=15):
    items = sorted(items, key=lambda item: item["probability_a"])
    probability = np.array([item["probability_a"] for item in items])
    came_true = np.array([item["label"] == "A" for item in items], dtype=float)
    parts = [part for part in np.array_split(np.arange(len(items)), bins) if len(part)]
    gaps = [abs(probability[part].mean() - came_true[part].mean()) * len(part) for part in parts]
    return sum(gaps) / len(items)


cases = {
    "scores": [
        {"levels": levels, "items": items, "expected": of_scores(items, levels)}
        for levels, items in ((5, scored(61, 5, True)), (5, scored(40, 5, False)), (10, scored(90, 10, True)), (2, scored(30, 2, True)))
    ],
    "pairs": [{"items": items, "expected": of_pairs(items)} for items in (pairs(83), pairs(240))],
    "forecasts": [{"items": items, "expected": {"ece": ece(items)}} for items in (forecasts(7), forecasts(100), forecasts(331))],
}
json.dump(cases, sys.stdout, default=float)
print()
