"""Walk a study of kind published: data set after data set, ordinary experiments, then one report over all."""

from collections.abc import Sequence

from assets.sources import MissingRawFile, located
from contracts.config.paper_study import Benchmark
from contracts.files.load import load_dataset, load_published, raw_folder
from contracts.files.yaml_lines import ConfigurationError
from contracts.words import ACCEPT_LEAKS_TAG, STUDY_TAG
from orchestration.walks.experiments import in_order, jobs_of, mining_for
from orchestration.walks.home_lock import only_walk
from orchestration.walks.runner import LayerRunner


def walk_papers(
    runner: LayerRunner, name: str, *, datasets: Sequence[str] | None = None, accept_leaks: bool = False
) -> None:
    """Walk from raw files to the report that puts our results beside those of papers; what is finished is reused.

    Data sets whose raw files are not here, and leaky ones unless leaks are accepted, are named and passed over.

    Args:
        runner: runs the layers.
        name: a file in studies/, of kind published.
        datasets: some of the study's; all, when absent.
        accept_leaks: whether to measure on the data sets of which the study's file says that they leak.

    Raises:
        ConfigurationError: an unknown name or a wrong file, before anything is computed.
        LayerFailed: a run failed; what was published before it stays.
    """
    benchmarks = _asked(name, datasets)
    with only_walk(runner) as held:
        walk_benchmarks(held.tagged({STUDY_TAG: name}), name, benchmarks, accept_leaks=accept_leaks)


def walk_benchmarks(runner: LayerRunner, name: str, benchmarks: dict[str, Benchmark], *, accept_leaks: bool) -> None:
    """Walk the data sets of a study, in a home that the caller holds.

    Raises:
        LayerFailed: an experiment failed; what was measured before stays.
    """
    accepting = runner.tagged({ACCEPT_LEAKS_TAG: "true"})
    for place, (dataset, benchmark) in enumerate(benchmarks.items(), start=1):
        why = _cannot_run(dataset, benchmark, accept_leaks)
        where = f"{name}: data set {place} of {len(benchmarks)} ({dataset})"
        if why is not None:
            runner.say(f"{where} is passed over: {why}")
            continue
        runner.say(f"{where}: {', '.join(benchmark.experiments)}")
        # Leaks are accepted where the study's file says that there are some, and nowhere else.
        _measure(accepting if benchmark.leaky else runner, dataset, benchmark.experiments)
    # The report holds the leaky numbers among the others, marked.
    (accepting if accept_leaks else runner).layer("report_published", name)


def _asked(name: str, datasets: Sequence[str] | None) -> dict[str, Benchmark]:
    benchmarks = load_published(name).benchmarks
    unknown = sorted(set(datasets or ()) - benchmarks.keys())
    if unknown:
        raise ConfigurationError(
            f"--dataset must be one of the study {name}, got '{unknown[0]}'. Accepted: {', '.join(benchmarks)}."
        )
    return {key: each for key, each in benchmarks.items() if datasets is None or key in datasets}


def _cannot_run(dataset: str, benchmark: Benchmark, accept_leaks: bool) -> str | None:
    if benchmark.leaky and not accept_leaks:
        return "its tables leak their answers; --accept-leaks measures on them and marks every number"
    try:
        located(load_dataset(dataset).source, raw_folder(dataset))
    except MissingRawFile as missing:
        return str(missing)
    return None


def _measure(runner: LayerRunner, dataset: str, experiments: Sequence[str]) -> None:
    runner.tracker.prepare(dataset)
    runner.layer("ingest", dataset)
    ordered = in_order(experiments)
    mining = mining_for(ordered)
    for experiment in ordered:
        for job in jobs_of(experiment):
            runner.layer(job, dataset, experiment, mines=experiment in mining)
