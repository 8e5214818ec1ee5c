"""How much each feature moves a prediction: exact TreeSHAP, looked up instead of computed.

What a tree gives to its features depends only on how a row answers the tree's questions (is the
value below the threshold). So each tree is cut into groups of few questions, and what a group gives
for every combination of answers is computed once per model. A row then needs one look-up for each
group and feature.

The contributions are those of path-dependent TreeSHAP (Lundberg et al. 2020), as XGBoost's
``pred_contribs`` gives them in float32, here in float64.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import xgboost

QUESTIONS = 8
"""The most questions of a group, whose answers are then one byte."""

LARGEST_TABLES = 256 * 1024**2
"""Bytes. Tables double with each level of the trees; beyond it XGBoost computes every row."""

CHUNK_ROWS = 16_384
"""Rows whose sums fit into a processor's cache. It changes no bit."""


@dataclass(frozen=True, slots=True)
class _Tree:
    """A tree by node. A leaf has no children (-1); its threshold is what it adds to the margin."""

    left: list[int]
    right: list[int]
    feature: list[int]
    threshold: np.ndarray
    missing_goes_left: list[int]
    cover: list[float]

    def is_leaf(self, node: int) -> bool:
        """Whether nothing is asked there."""
        return self.left[node] < 0

    def questions_below(self, node: int) -> list[int]:
        """The nodes of the subtree that ask something, each before those below it."""
        if self.is_leaf(node):
            return []
        below = self.questions_below(self.left[node]) + self.questions_below(self.right[node])
        return [node, *below]


_Path = tuple[tuple[int, bool], ...]
"""The nodes from the root on, each with whether the way goes on to the left."""


@dataclass(frozen=True, slots=True)
class _Question:
    """Is the value below the threshold, or else: is it not below? Never true of a missing value."""

    feature: int
    threshold: np.float32
    is_below: bool


@dataclass(frozen=True, slots=True)
class _Group:
    """What some leaves of a tree give to each of ``features``, by the answers to ``questions``.

    ``table`` is (features, 2 ** questions); the first answer is the lowest bit of the column.
    """

    questions: tuple[_Question, ...]
    features: tuple[int, ...]
    table: np.ndarray


def margin_contributions(booster: xgboost.Booster, matrix: np.ndarray) -> np.ndarray:
    """How each feature moves each row's margin.

    Args:
        booster: Trees.
        matrix: (n, k), float32; NaN is missing.

    Returns:
        (k + 1, n), float64. The last row is what every margin starts from; a column's sum is the
        margin (to float32 accuracy).
    """
    groups, start = _tables(booster)
    if groups is None:
        return own_contributions(booster, matrix)
    sums = np.zeros((matrix.shape[1] + 1, len(matrix)))
    sums[-1] = start
    for first in range(0, len(matrix), CHUNK_ROWS):
        chunk = slice(first, first + CHUNK_ROWS)
        _add(groups, np.ascontiguousarray(matrix[chunk].T), sums[:, chunk])
    return sums


def own_contributions(booster: xgboost.Booster, matrix: np.ndarray) -> np.ndarray:
    """The same as XGBoost computes it for every row, in float32."""
    # The number of threads of a DMatrix is its own, not the booster's.
    rows = xgboost.DMatrix(matrix, missing=np.nan, nthread=1)
    return booster.predict(rows, pred_contribs=True).T.astype(np.float64)


def _add(groups: Sequence[_Group], columns: np.ndarray, sums: np.ndarray) -> None:
    """Add what the groups give to the features of some rows."""
    length = columns.shape[1]
    answer, given = np.empty(length, dtype=bool), np.empty(length)
    for group in groups:
        # The narrowest type is the quickest; np.packbits takes ten times as long.
        combination = np.zeros(length, np.min_scalar_type(group.table.shape[1] - 1))
        for bit, question in enumerate(group.questions):
            compare = np.less if question.is_below else np.greater_equal
            compare(columns[question.feature], question.threshold, out=answer)
            combination |= answer.view(np.uint8) * combination.dtype.type(1 << bit)
        combination = combination.astype(np.intp)
        for feature, gives in zip(group.features, group.table, strict=True):
            # Nothing is clipped; to ask for it is what keeps NumPy from a copy.
            np.take(gives, combination, out=given, mode="clip")
            sums[feature] += given


@lru_cache(maxsize=2)
def _tables(booster: xgboost.Booster) -> tuple[list[_Group] | None, float]:
    """The groups of all trees, none if they would be too large, and what every margin starts from.

    Those of a champion and a challenger are kept.
    """
    cut = [(tree, *part) for tree in _trees(booster) for part in _cut(tree, 0, ())]
    if sum(_table_bytes(tree, node, path) for tree, node, path in cut) > LARGEST_TABLES:
        return None, 0.0
    groups = [_group(tree, node, path) for tree, node, path in cut]
    # All that a row of missing values does not get from its features.
    nothing = np.full((1, booster.num_features()), np.nan, dtype=np.float32)
    sums = np.zeros((booster.num_features(), 1))
    _add(groups, nothing.T, sums)
    margin = booster.inplace_predict(nothing, predict_type="margin")
    return groups, float(margin[0] - sums.sum())


def _trees(booster: xgboost.Booster) -> list[_Tree]:
    model = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]
    return [
        _Tree(
            left=tree["left_children"],
            right=tree["right_children"],
            feature=tree["split_indices"],
            threshold=np.array(tree["split_conditions"], dtype=np.float32),
            missing_goes_left=tree["default_left"],
            cover=tree["sum_hessian"],
        )
        for tree in model["trees"]
    ]


def _cut(tree: _Tree, node: int, path: _Path) -> Iterator[tuple[int, _Path]]:
    """Subtrees that cover all leaves, each with the way to it, of at most ``QUESTIONS`` questions.

    A single leaf further down than that is a subtree of its own.
    """
    if tree.is_leaf(node) or len(path) + len(tree.questions_below(node)) <= QUESTIONS:
        yield node, path
    else:
        yield from _cut(tree, tree.left[node], (*path, (node, True)))
        yield from _cut(tree, tree.right[node], (*path, (node, False)))


def _leaves(tree: _Tree, node: int, path: _Path) -> Iterator[tuple[int, _Path]]:
    if tree.is_leaf(node):
        yield node, path
    else:
        yield from _leaves(tree, tree.left[node], (*path, (node, True)))
        yield from _leaves(tree, tree.right[node], (*path, (node, False)))


def _group(tree: _Tree, node: int, path: _Path) -> _Group:
    asked = [*(above for above, _ in path), *tree.questions_below(node)]
    features = sorted({tree.feature[one] for one in asked})
    combinations = np.arange(1 << len(asked))
    # A missing value is neither below a threshold nor not below it. So that it goes where the tree
    # sends it, the question is the one whose "no" leads there.
    goes_left = {
        one: (combinations >> bit & 1).astype(bool) ^ tree.missing_goes_left[one]
        for bit, one in enumerate(asked)
    }
    table = np.zeros((len(features), len(combinations)))
    for leaf, way in _leaves(tree, node, path):
        own = sorted({tree.feature[one] for one, _ in way})
        follows = np.ones((len(own), len(combinations)), dtype=bool)
        share = np.ones(len(own))
        for (one, is_left), (child, _) in pairwise((*way, (leaf, None))):
            position = own.index(tree.feature[one])
            follows[position] &= goes_left[one] == is_left
            share[position] *= tree.cover[child] / tree.cover[one]
        if own:
            given = _leaf_contributions(float(tree.threshold[leaf]), follows, share)
            table[[features.index(feature) for feature in own]] += given
    questions = tuple(
        _Question(tree.feature[one], tree.threshold[one], not tree.missing_goes_left[one])
        for one in asked
    )
    return _Group(questions, tuple(features), table)


_gauss = lru_cache(np.polynomial.legendre.leggauss)


def _leaf_contributions(value: float, follows: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Shapley values of a game in which a leaf's ``value`` is reached if all players allow it.

    A player who is in allows it or not (``follows``); one who is not in allows its ``share``. The
    weights of the coalitions are integrals of ``t**in * (1 - t)**out`` from 0 to 1, so the sum over
    coalitions is the integral of a product; Gauss's rule gives it exactly, as it is a polynomial.

    Args:
        follows: (players, combinations).
        share: (players).

    Returns:
        (players, combinations).
    """
    players = len(share)
    points, weights = _gauss((players + 1) // 2)
    out = share[:, None]
    itself = np.eye(players, dtype=bool)[:, :, None]
    joins = np.zeros(follows.shape)
    for t, weight in zip((points + 1) / 2, weights / 2, strict=True):
        allowed = t * follows + (1 - t) * out
        joins += weight * np.where(itself, 1.0, allowed).prod(axis=1)
    return value * (follows - out) * joins


def _table_bytes(tree: _Tree, node: int, path: _Path) -> int:
    questions = len(path) + len(tree.questions_below(node))
    return 8 * questions << questions
