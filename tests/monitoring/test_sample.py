"""The sample of a night."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring.sample import sample_scored


@pytest.fixture
def night(tmp_path):
    """Writes features and predictions of 100 customers, in files of that many rows."""

    def write(rows_per_file=100, statuses=("scored",), backwards=False):
        numbers = list(range(100))
        if backwards:
            numbers.reverse()
        features = [{"customer_id": f"c{n}", "recency_days": float(n)} for n in numbers]
        predictions = [
            {
                "customer_id": f"c{n}",
                "probability": n / 100,
                "is_contacted": n >= 80,
                "status": statuses[n % len(statuses)],
            }
            for n in numbers
        ]
        folder = tmp_path / f"{rows_per_file}-{len(statuses)}-{backwards}"
        for name, rows in (("features", features), ("predictions", predictions)):
            (folder / name).mkdir(parents=True)
            for start in range(0, 100, rows_per_file):
                table = pa.Table.from_pylist(rows[start : start + rows_per_file])
                pq.write_table(table, folder / name / f"part-{start:03}.parquet")
        return tuple(sorted((folder / name).iterdir()) for name in ("features", "predictions"))

    return write


def test_joins_features_with_predictions(night):
    sample = sample_scored(*night(), rows=100, seed=7)
    assert sample.columns.tolist() == ["recency_days", "probability", "is_contacted"]
    assert sample.loc["c90"].tolist() == [90.0, 0.9, True]
    assert len(sample) == 100


def test_is_bounded(night):
    assert len(sample_scored(*night(), rows=10, seed=7)) == 10


def test_does_not_depend_on_how_rows_lie_in_files(night):
    whole = sample_scored(*night(), rows=30, seed=7)
    assert sample_scored(*night(rows_per_file=7), rows=30, seed=7).equals(whole)
    assert sample_scored(*night(backwards=True), rows=30, seed=7).equals(whole)


def test_depends_on_the_seed(night):
    files = night()
    one, other = (set(sample_scored(*files, rows=30, seed=seed).index) for seed in (7, 8))
    assert one != other


def test_a_smaller_sample_is_part_of_a_larger_one(night):
    files = night()
    small, large = (set(sample_scored(*files, rows=rows, seed=7).index) for rows in (10, 30))
    assert small < large


def test_leaves_out_whom_the_model_did_not_score(night):
    files = night(statuses=("scored", "previous", "default", "scored"))
    sample = sample_scored(*files, rows=100, seed=7)
    assert sorted(sample["recency_days"] % 4) == [0.0] * 25 + [3.0] * 25
