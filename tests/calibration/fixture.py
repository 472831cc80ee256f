"""Makes fixture.json: fits by scikit-learn and scipy to made-up numbers, which the tests compare with.

    python3 -m venv venv && venv/bin/pip install scikit-learn==1.9.1
    venv/bin/python tests/calibration/fixture.py > tests/calibration/fixture.json
"""

import json

import numpy as np
from scipy.optimize import minimize_scalar, root
from scipy.special import expit, logit, logsumexp
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, Ridge

random = np.random.default_rng(14)


def short(numbers, digits=6):
    return np.round(numbers, digits)


def isotonic():
    x = short(random.uniform(0, 1, 60), 2)  # two digits, so that some are equal
    y = short(np.clip(x**2 + random.normal(0, 0.2, 60), 0, 1), 2)
    fitted = IsotonicRegression(out_of_bounds="clip", y_min=None, y_max=None).fit(x, y)
    at = np.linspace(0, 1, 41)
    return {"x": x.tolist(), "y": y.tolist(), "at": at.tolist(), "predicted": fitted.predict(at).tolist()}


def pair_temperature():
    p = short(random.beta(0.6, 0.6, 80), 4)
    y = (random.uniform(0, 1, 80) < expit(0.5 * logit(p))).astype(int)
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    model.fit(logit(p).reshape(-1, 1), y)
    return {"p": p.tolist(), "y": y.tolist(), "temperature": float(1 / model.coef_[0, 0])}


def score_temperature():
    logs = random.normal(0, 2, (70, 5))
    p = short(np.exp(logs - logsumexp(logs, axis=1, keepdims=True)), 6)
    p[:, 4] = 1 - p[:, :4].sum(axis=1)
    p = np.clip(p, 1e-6, 1)
    true = np.exp(0.6 * np.log(p))
    true /= true.sum(axis=1, keepdims=True)
    labels = np.array([random.choice(5, p=row) for row in true])

    def loss(inverse):
        scaled = inverse * np.log(p)
        return -(scaled[np.arange(70), labels] - logsumexp(scaled, axis=1)).sum()

    found = minimize_scalar(loss, bounds=(0.01, 10), method="bounded", options={"xatol": 1e-12})
    return {"p": p.tolist(), "labels": labels.tolist(), "temperature": float(1 / found.x)}


def ordinal(ridge=1e-2, prior=0.5):
    x = short(random.uniform(0, 1, 90), 4)
    levels = 4
    labels = np.clip(np.round(3 * x + random.normal(0, 0.8, 90)), 0, 3).astype(int)
    seen = [(a, k, 1.0) for a, k in zip(x, labels)] + [(x.mean(), k, prior) for k in range(levels)]

    def gradient(at):
        slope, thresholds = at[0], at[1:]
        result = np.zeros_like(at)
        for a, k, share in seen:
            ends = np.concatenate([[-np.inf], thresholds, [np.inf]])
            low, high = ends[k] - slope * a, ends[k + 1] - slope * a
            mass = expit(high) - expit(low)
            density = [expit(z) * expit(-z) if np.isfinite(z) else 0.0 for z in (low, high)]
            result[0] -= share * (-a) * (density[1] - density[0]) / mass
            if k + 1 < levels:
                result[1 + k] -= share * density[1] / mass
            if k > 0:
                result[k] += share * density[0] / mass
        result[0] += ridge * slope
        return result

    found = root(gradient, np.array([0.0, -1.0, 0.0, 1.0]), tol=1e-13)
    assert found.success, found.message
    return {"x": x.tolist(), "labels": labels.tolist(), "slope": found.x[0], "thresholds": found.x[1:].tolist()}


def bradley_terry(ridge=3.0):
    x = short(random.normal(0, [2.0, 1.0, 0.1], (100, 3)), 4)
    y = np.where(random.uniform(0, 1, 100) < 0.1, 0.5, (expit(x @ [0.8, -0.3, 2.0]) > random.uniform(0, 1, 100)))
    scale = np.sqrt((x**2).mean(axis=0))
    model = LogisticRegression(C=1 / ridge, fit_intercept=False, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    twice = np.concatenate([x / scale, x / scale])
    model.fit(twice, np.repeat([1, 0], 100), sample_weight=np.concatenate([y, 1 - y]))
    return {"ridge": ridge, "x": x.tolist(), "y": y.tolist(), "weights": (model.coef_[0] / scale).tolist()}


def ridge_regression(ridge=10.0):
    x = short(random.normal([0.5, 0.8, 6.0], [0.2, 0.1, 1.0], (100, 3)), 4)
    y = short(np.clip(0.2 + 0.8 * x[:, 0] - 0.05 * (x[:, 2] - 6) + random.normal(0, 0.1, 100), 0, 1), 4)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    model = Ridge(alpha=ridge, tol=1e-12).fit((x - mean) / scale, y)
    weights = model.coef_ / scale
    return {
        "ridge": ridge,
        "x": x.tolist(),
        "y": y.tolist(),
        "weights": weights.tolist(),
        "intercept": float(model.intercept_ - weights @ mean),
    }


def logistic(ridge=3.0):
    x = short(random.normal([0.5, 0.8, 6.0], [0.2, 0.1, 1.0], (100, 3)), 4)
    right = expit(1.5 - 3 * x[:, 0] + 0.5 * (x[:, 2] - 6)) > random.uniform(0, 1, 100)
    y = np.where(random.uniform(0, 1, 100) < 0.1, 0.5, right)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    model = LogisticRegression(C=1 / ridge, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    twice = np.concatenate([(x - mean) / scale] * 2)
    model.fit(twice, np.repeat([1, 0], 100), sample_weight=np.concatenate([y, 1 - y]))
    weights = model.coef_[0] / scale
    return {
        "ridge": ridge,
        "x": x.tolist(),
        "y": y.tolist(),
        "weights": weights.tolist(),
        "intercept": float(model.intercept_[0] - weights @ mean),
    }


made = [isotonic, pair_temperature, score_temperature, ordinal, bradley_terry, ridge_regression, logistic]
print(json.dumps({make.__name__: make() for make in made}))
