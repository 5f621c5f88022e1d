"""A weights file has changed: what was made of it goes."""

from pages.server import budgets, drawings, keeping, models, queues


def forget_model(name: str) -> None:
    """Drop what was made of a model whose file has changed; whatever is keyed otherwise is dropped whole."""
    for cached in (
        models.load_once,
        models.stored,
        budgets.architecture,
        budgets.reachable,
        budgets.all_budgets,
        models.kernel_readings,
        budgets.gate_history,
        budgets.moments,
        budgets.over_search,
        drawings.drawn_once,
        keeping.keep_macs,
    ):
        cached.clear()
    queues.measurements().forget(lambda key: key == name)
    queues.engines().forget(lambda key: key[0].name == name)
    for jobs in (queues.scorings(), queues.comparisons()):
        jobs.forget(lambda key: key[0] == name)
