"""What people would use instead, on the same files; runs in an environment of its own.

    python -m benchmarks.peers mlflow FEATURES MODEL

Imports nothing of the project. Prints what it found as JSON.
"""

import json
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

COUNTED = ("purchase_invoice_ids", "purchase_product_ids")
SUMMED = ("purchase_micros", "return_micros")
WINDOWS = (7, 30, 90, 365)


def spark_session(master: str):
    """Apache Spark with the project's own Java and the options that it starts it with."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master(master)
    options = {
        "spark.driver.memory": "2g",
        "spark.driver.extraJavaOptions": os.environ.get("BENCH_JAVA_OPTIONS", ""),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.sql.shuffle.partitions": "16",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
    }
    return builder.config(map=options).getOrCreate()


def mlflow_udf(features: str, model: str) -> dict:
    """``mlflow.pyfunc.spark_udf`` over a folder of features; predicts and writes, nothing else."""
    import mlflow
    import xgboost
    from pyspark.sql import functions as F

    # As a bare booster, which answers with a probability; the classifier would say yes or no.
    booster = xgboost.Booster(model_file=model)
    spark = spark_session("local[2]")
    with tempfile.TemporaryDirectory(dir=Path(features).parent) as folder:
        mlflow.xgboost.save_model(booster, f"{folder}/model")
        predict = mlflow.pyfunc.spark_udf(
            spark, f"{folder}/model", result_type="double", env_manager="local"
        )
        rows = spark.read.parquet(features)
        names = [name for name in rows.columns if name != "customer_id"]
        coded = rows.withColumn("country", (F.col("country") == "Spain").cast("double"))
        predicted = coded.select("customer_id", predict(F.struct(*names)).alias("p"))
        predicted.write.parquet(f"{folder}/predictions")
        return {"rows": spark.read.parquet(f"{folder}/predictions").count()}


def aggregate(lines: str) -> dict:
    """One plain aggregate of Apache Spark over delivered lines: what each customer spent."""
    from pyspark.sql import functions as F

    spark = spark_session("local[2]")
    with tempfile.TemporaryDirectory() as folder:
        rows = spark.read.option("recursiveFileLookup", "true").parquet(lines)
        spent = F.sum(F.col("quantity") * F.col("unit_price")).alias("spent")
        rows.groupBy("customer").agg(F.count("*").alias("lines"), spent).write.parquet(
            f"{folder}/spent"
        )
        return {"rows": spark.read.parquet(f"{folder}/spent").agg(F.sum("lines")).first()[0]}


def duckdb_features(activity: str, as_of: str) -> dict:
    """What features are made from, in DuckDB: sums, counts of different ids, days and country."""
    gathered = [
        *(
            f"sum(case when ago < {days} then {name} else 0 end)::hugeint as {name}_{days}d"
            for name in SUMMED
            for days in WINDOWS
        ),
        *(
            f"len(list_distinct(flatten(list({name}) filter (ago < {days})))) as {name}_{days}d"
            for name in COUNTED
            for days in WINDOWS
        ),
        "list_sort(list_distinct(list(ago) filter (purchase_lines > 0))) as days_ago",
        "arg_min(country, ago) filter (purchase_lines > 0) as country",
    ]
    with duckdb_in_a_folder() as (connection, folder):
        rows = connection.read_parquet(f"{activity}/*.parquet")
        dated = rows.project(f"*, date_diff('day', activity_on, date '{as_of}') as ago")
        customers = dated.filter("ago >= 0").aggregate(f"customer_id, {', '.join(gathered)}")
        active = customers.filter("days_ago[1] < 365").order("customer_id")
        active.write_parquet(f"{folder}/features.parquet")
        return {"rows": len(connection.read_parquet(f"{folder}/features.parquet"))}


def duckdb_history(incoming: str) -> dict:
    """Lines of all days as one row per customer and day, in DuckDB; nothing is checked."""
    summed = (
        "customer, invoiced_at::date as day, count(*) as lines, "
        "sum(quantity * unit_price) as spent, list_distinct(list(invoice)) as invoices, "
        "list_distinct(list(product)) as products"
    )
    with duckdb_in_a_folder() as (connection, folder):
        lines = connection.read_parquet(f"{incoming}/*/*.parquet")
        lines.aggregate(summed).write_parquet(f"{folder}/days", partition_by=["day"])
        written = connection.read_parquet(f"{folder}/days/*/*.parquet")
        [(rows,)] = written.sum("lines").fetchall()
        return {"rows": int(rows)}


@contextmanager
def duckdb_in_a_folder():
    """DuckDB on two cores, and a folder for what it writes."""
    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        config = {"threads": 2, "temp_directory": f"{folder}/spilled"}
        with duckdb.connect(config=config) as connection:
            yield connection, folder


PEERS = {
    "mlflow": mlflow_udf,
    "aggregate": aggregate,
    "duckdb_features": duckdb_features,
    "duckdb_history": duckdb_history,
}

if __name__ == "__main__":
    print(json.dumps(PEERS[sys.argv[1]](*sys.argv[2:])), flush=True)
