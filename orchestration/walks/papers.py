"""Walks a study of published benchmarks: data set after data set, ordinary experiments, then one report over all."""

from collections.abc import Callable, Sequence

from assets.lake.leaks import ACCEPT_TAG
from assets.sources import MissingRawFile, located
from contracts.config.paper_study import Benchmark
from contracts.files.load import ConfigurationError, load_dataset, load_published, raw_folder
from orchestration.walks.pipeline import Pipeline, in_order, jobs_of, mining_for


class PublishedWalk:
    """One walk; experiments that are finished are reused, data sets that cannot be had are named."""

    def __init__(
        self, pipeline: Pipeline, name: str, datasets: Sequence[str] | None, say: Callable[[str], None]
    ) -> None:
        self.pipeline, self.name, self.say = pipeline, name, say
        benchmarks = load_published(name).benchmarks
        unknown = sorted(set(datasets or ()) - benchmarks.keys())
        if unknown:
            raise ConfigurationError(
                f"--dataset must be one of the study {name}, got '{unknown[0]}'. Accepted: {', '.join(benchmarks)}."
            )
        self.benchmarks = {key: each for key, each in benchmarks.items() if datasets is None or key in datasets}
        self.accepts_leaks = ACCEPT_TAG in pipeline.tags

    def run(self) -> None:
        """From the raw files of each data set to the report.

        Raises:
            LayerFailed: an experiment failed; what was measured before stays.
        """
        for place, (dataset, benchmark) in enumerate(self.benchmarks.items(), start=1):
            why = self._cannot_run(dataset, benchmark)
            where = f"{self.name}: data set {place} of {len(self.benchmarks)} ({dataset})"
            if why is not None:
                self.say(f"{where} is passed over: {why}")
                continue
            self.say(f"{where}: {', '.join(benchmark.experiments)}")
            self._walk(dataset, benchmark)
        self._accept(self.accepts_leaks)  # the report holds the leaky numbers among the others, marked
        self.pipeline.layer("report_published", self.name)

    def _cannot_run(self, dataset: str, benchmark: Benchmark) -> str | None:
        if benchmark.leaky and not self.accepts_leaks:
            return "its tables leak their answers; --accept-leaks measures on them and marks every number"
        try:
            located(load_dataset(dataset).source, raw_folder(dataset))
        except MissingRawFile as missing:
            return str(missing)
        return None

    def _walk(self, dataset: str, benchmark: Benchmark) -> None:
        pipeline = self.pipeline
        pipeline.tracker.prepare(dataset)
        self._accept(benchmark.leaky)  # where the study's file says that there are leaks, and nowhere else
        pipeline.layer("ingest", dataset)
        ordered = in_order(benchmark.experiments)
        mining = mining_for(ordered)
        for experiment in ordered:
            for job in jobs_of(experiment):
                pipeline.layer(job, dataset, experiment, mines=experiment in mining)

    def _accept(self, leaks: bool) -> None:
        """Whether the layers from here on accept leaks."""
        self.pipeline.tags.pop(ACCEPT_TAG, None)
        if leaks:
            self.pipeline.tags[ACCEPT_TAG] = "true"
