"""An asset, declared once: name, what it reads, configuration, partition, ports, checks. All else follows from that.

The decorators here turn a function into a Dagster asset. Its parameters are what it reads, and nothing but what it
reads: the lake is in none of them, so that a table that is not declared cannot be read.

    @asset(by=DATASETS, reads=[same_dataset("interactions")], config=lambda of: {"seed": of.seed}, …)
    def splits(of: DatasetConfig, interactions: Version) -> Content:
        ...

`of` is the plan: what the configuration says about the partition. `step` is where to write and how to speak; `launcher`
and `tracker` are the ports of that name. The edges that Dagster draws, the versions a body is handed, the fingerprint
and the recorded ancestry all come from `reads`.
"""

import inspect
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from assets.lake.checks import check_specs
from assets.lake.code_versions import code_version_of
from assets.lake.freshness import Published
from assets.lake.partitions import BY_EXPERIMENT, DATASET_FILE, EXPERIMENT_FILE, partition_of
from assets.lake.ports import Launcher, Tracker
from assets.lake.publish import Content, Inputs, Results, Work, is_forced, publish
from assets.lake.reads import Read
from assets.lake.transient import tried_again
from assets.lake.versions import Lake, Partition, Version
from contracts.files.load import load_dataset

PORTS = ("launcher", "tracker")
Body = Callable[..., Content]
Bodies = Callable[..., Mapping[str, Content]]


@dataclass(frozen=True)
class Request:
    """What a plan is made from: the partition, the run's tags, the ports, and which versions are published."""

    partition: Partition
    tags: Mapping[str, str]
    say: Callable[[str], None]
    published: Published
    """Versions, only of the declared assets."""
    ports: Mapping[str, Any]

    @property
    def tracker(self) -> Tracker:
        """The tracker, which the body declares."""
        return self.ports["tracker"]


@dataclass(frozen=True)
class Step:
    """Where a body writes, and how it speaks: everything that is neither a version nor a port."""

    partition: Partition
    inputs: Inputs
    """Every version that the body is handed."""
    folders: Mapping[str, Path]
    """The staging folder of each output, by name."""
    scratch: Path
    """For files that LazyFrames read; removed after the publication."""
    unfinished: Path | None
    """A folder for what an interrupted step can go on from; only for an asset with `resumes_in`."""
    previous: Version | None
    """The newest whole version of this partition; only for an asset that `keeps_history`."""
    run_id: str
    tags: Mapping[str, str]
    info: Callable[[str], None]
    warn: Callable[[str], None]
    tag_run: Callable[[Mapping[str, str]], None]
    """Tags the Dagster run."""

    @property
    def name(self) -> str:
        """The only output."""
        (name,) = self.folders
        return name

    @property
    def folder(self) -> Path:
        """The staging folder of the only output."""
        (folder,) = self.folders.values()
        return folder


def _dataset_of(request: Request) -> Any:
    return load_dataset(request.partition[0])


def _file_of(by: dg.PartitionsDefinition[Any]) -> dg.AssetDep:
    return EXPERIMENT_FILE if by is BY_EXPERIMENT else DATASET_FILE


def asset(
    *,
    by: dg.PartitionsDefinition[Any],
    config: Callable[[Any], Mapping[str, Any]],
    group: str,
    kinds: set[str],
    owner: str,
    code_version: str | None = None,
    reads: Sequence[Read] = (),
    plan: Callable[[Request], Any] = _dataset_of,
    file: dg.AssetDep | None = None,
    checks: Sequence[str] = (),
    shared: bool = False,
    still_valid: Callable[[Version, Any, Tracker], bool] | None = None,
    resumes_in: str | None = None,
    keeps_history: bool = False,
) -> Callable[[Body], dg.AssetsDefinition]:
    """Turns a function into the asset of its name.

    Args:
        by: its partitions.
        config: of the plan, everything but versions that the content depends on, as JSON values.
        group: in the UI.
        kinds: of tools that make it, for the UI.
        owner: the team.
        code_version: raised when the same inputs and configuration give other content; by default the one in
            `code_versions.json`.
        reads: what the body may read; each is one of its parameters.
        plan: what the configuration says about the partition; by default the file of its data set. It is made before
            anything is read, and refuses what cannot be made.
        file: the node of the file that the plan reads, where it is another than that of the partition's data set or
            experiment.
        checks: names of the checks that the content comes with, besides `schema`.
        shared: the content does not depend on the partition's last part; see `publish`.
        still_valid: of a version made from the same things, the plan and the tracker, whether it may be reused.
        resumes_in: name of the folder, beside that of the launcher's checkpoints, where an interrupted step leaves what
            it can go on from. What was made from other things is removed before the body runs, all of it afterwards.
        keeps_history: the body is handed its previous version.

    Raises:
        TypeError: the parameters of the function are not what it declares.
    """

    def wrap(body: Body) -> dg.AssetsDefinition:
        name = body.__name__
        return _defined(
            lambda **given: {name: body(**given)},
            body,
            {name: inspect.getdoc(body) or ""},
            {name: checks},
            _Declaration(by, config, reads, plan, file or _file_of(by), shared, still_valid, resumes_in, keeps_history),
            {
                "group_name": group,
                "kinds": kinds,
                "owners": [f"team:{owner}"],
                "code_version": code_version or code_version_of(body.__module__.rpartition(".")[2]),
            },
        )

    return wrap


def assets(
    outputs: Mapping[str, str],
    *,
    by: dg.PartitionsDefinition[Any],
    config: Callable[[Any], Mapping[str, Any]],
    group: str,
    kinds: set[str],
    owner: str,
    code_version: str | None = None,
    reads: Sequence[Read] = (),
    plan: Callable[[Request], Any] = _dataset_of,
    checks: Mapping[str, Sequence[str]] | None = None,
) -> Callable[[Bodies], dg.AssetsDefinition]:
    """Turns a function that makes several tables at once into their assets: `outputs` gives names and descriptions.

    The other arguments are those of `asset`; `checks` are by output.
    """

    def wrap(body: Bodies) -> dg.AssetsDefinition:
        return _defined(
            body,
            body,
            outputs,
            checks or {},
            _Declaration(by, config, reads, plan, _file_of(by)),
            {
                "group_name": group,
                "kinds": kinds,
                "owners": [f"team:{owner}"],
                "code_version": code_version or code_version_of(body.__module__.rpartition(".")[2]),
            },
        )

    return wrap


@dataclass(frozen=True)
class _Declaration:
    by: dg.PartitionsDefinition[Any]
    config: Callable[[Any], Mapping[str, Any]]
    reads: Sequence[Read]
    plan: Callable[[Request], Any]
    file: dg.AssetDep
    shared: bool = False
    still_valid: Callable[[Version, Any, Tracker], bool] | None = None
    resumes_in: str | None = None
    keeps_history: bool = False


def _defined(
    make: Bodies,
    signature_of: Callable[..., Any],
    outputs: Mapping[str, str],
    checks: Mapping[str, Sequence[str]],
    declared: _Declaration,
    shown: Mapping[str, Any],
) -> dg.AssetsDefinition:
    name = signature_of.__name__
    wanted = list(inspect.signature(signature_of).parameters)
    _refuse_other_parameters(name, wanted, declared.reads)
    ports = [port for port in PORTS if port in wanted]
    may_read = frozenset().union(*(read.assets for read in declared.reads))
    edges = {dep.asset_key: dep for dep in (declared.file, *(dep for read in declared.reads for dep in read.drawn))}

    @dg.multi_asset(
        name=name,
        specs=[
            dg.AssetSpec(output, description=text, deps=edges.values(), **shown) for output, text in outputs.items()
        ],
        partitions_def=declared.by,
        check_specs=[
            spec for output in outputs for spec in check_specs(output, *checks.get(output, ()), by=declared.by)
        ],
        required_resource_keys={"lake", *ports},
    )
    def materialise(context: dg.AssetExecutionContext) -> Results:
        lake: Lake = context.resources.lake
        given = {port: getattr(context.resources, port) for port in ports}
        partition = partition_of(context)
        plan = declared.plan(Request(partition, context.run.tags, context.log.info, Published(lake, may_read), given))
        found = {read.name: list(read.find(partition, plan)) for read in declared.reads}
        still_valid = declared.still_valid
        unfinished = _unfinished(declared, given.get("launcher"), partition)

        def compute(work: Work) -> Mapping[str, Content]:
            by_place = {(version.asset, version.partition): version for version in work.inputs.versions}
            arguments: dict[str, Any] = dict(given)
            for read in declared.reads:
                versions = [by_place[asset, tuple(of)] for asset, of in found[read.name]]
                arguments[read.name] = versions if read.is_many else next(iter(versions), None)
            arguments["of"] = plan
            arguments["step"] = Step(
                partition=partition,
                inputs=work.inputs,
                folders=work.folders,
                scratch=work.scratch,
                unfinished=_tidied(unfinished, work.fingerprint, afresh=is_forced(context.run.tags)),
                previous=lake.newest_whole(name, partition) if declared.keeps_history else None,
                run_id=context.run.run_id,
                tags=context.run.tags,
                info=context.log.info,
                warn=context.log.warning,
                tag_run=lambda tags: context.instance.add_run_tags(context.run.run_id, tags),
            )
            return make(**{parameter: arguments[parameter] for parameter in wanted})

        with tried_again(context.retry_number, context.log.warning):
            yield from publish(
                context,
                lake,
                compute,
                partition=partition,
                inputs=list(dict.fromkeys((asset, tuple(of)) for each in found.values() for asset, of in each)),
                config=declared.config(plan),
                shared=declared.shared,
                still_valid=lambda version: still_valid is None or still_valid(version, plan, given["tracker"]),
            )
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)

    return materialise


def _refuse_other_parameters(name: str, wanted: Iterable[str], reads: Sequence[Read]) -> None:
    declared = {read.name for read in reads}
    unknown = set(wanted) - declared - {"of", "step", *PORTS}
    unread = declared - set(wanted)
    if unknown or unread:
        raise TypeError(
            f"the parameters of {name} must be what it declares to read, `of`, `step` and ports; it has "
            f"{', '.join(sorted(unknown)) or 'none'} besides and lacks {', '.join(sorted(unread)) or 'none'}."
        )


def _unfinished(declared: _Declaration, launcher: Launcher | None, partition: Partition) -> Path | None:
    """Where interrupted steps of this partition leave what they can go on from; None: nowhere."""
    if declared.resumes_in is None:
        return None
    assert launcher is not None  # only what a launcher runs goes on from where it was interrupted
    return launcher.resume_points_root.with_name(declared.resumes_in).joinpath(*partition)


def _tidied(folder: Path | None, fingerprint: str, *, afresh: bool) -> Path | None:
    """The folder of what is made from the same things; what was made from others is removed, or all of it."""
    if folder is None:
        return None
    if folder.is_dir():
        for other in folder.iterdir():
            if afresh or other.name != fingerprint:
                shutil.rmtree(other)
    return folder / fingerprint
