"""Which DAGs are paused, and what that means for who triggers one."""

from local.airflow.client import Client


def unpause_what_runs_by_hand(client: Client) -> list[str]:
    """Unpause the DAGs without a schedule; a sentence for each that is paused still."""
    sentences = []
    for dag in client.call("GET", "/dags", paused=True)["dags"]:
        name = dag["dag_id"]
        if dag["timetable_summary"] is None:
            client.pause(name, False)
        else:
            sentences.append(
                f"{name} is paused, so that no night begins by itself "
                f"({dag['timetable_description']}); to let it: "
                f'make airflow ARGS="dags unpause {name}"'
            )
    return sentences


def what_waits(client: Client, words: list[str]) -> list[str]:
    """A sentence for each paused DAG that a command of Airflow's, in these words, asks to run."""
    if words[:2] not in (["dags", "trigger"], ["backfill", "create"]):
        return []
    return [
        f"{dag['dag_id']} is paused: what was asked for waits until it is unpaused: "
        f'make airflow ARGS="dags unpause {dag["dag_id"]}"'
        for dag in client.call("GET", "/dags", paused=True)["dags"]
        if dag["dag_id"] in words
    ]
