"""A name -> what it stands for: the file that declares a stream or a recipe, or the extension that does the work.

An extension is a learner, a network, a stream kind, a data set or a metric. One row of a table makes one of ours known:

    LEARNERS = {"mlp": Extension("nlbench.learners.mlp:Mlp", "nlbench.learners.config:MlpConfig"), ...}

Rows are strings, so that to know the names costs no import. The config of a learner, a network or a stream kind stands beside its
class in a module without torch: a plan needs the one, a run the other. A source's row names an object and has no config; metrics
are rows of `nlbench.metrics.METRICS`. Somebody else's extension is an entry point of the group `nlbench.<group>`, or is named as
`./file.py:Name` or `package.module:Name`; its class may carry its config as `Config`. A class that Python gave is named too.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from nlbench import closure
from nlbench.closure import Reached
from nlbench.errors import Blamed, NlbenchError, UnknownNameError

Kind = Literal["stream", "model", "claim"]
Group = Literal["learners", "networks", "streams", "sources", "metrics"]

_PACKAGE: Final = Path(__file__).resolve().parent
ROOT: Final = _PACKAGE / "_catalog" if (_PACKAGE / "_catalog").is_dir() else _PACKAGE.parent
"""Holds `tasks/`, `baselines/`, `results/reference/` and `results/claims/`: the wheel's own copy, or the checkout."""

FOLDERS: Final[dict[Kind, str]] = {"stream": "tasks", "model": "baselines", "claim": "results/claims"}
REFERENCE: Final = ROOT / "results" / "reference"


class Extension(NamedTuple):
    """Where an extension and its config are, each as `module:Name`; of a learner, what its class says it needs, and in a few
    words what it keeps beside its network.
    """

    place: str
    config: str = ""
    needs: tuple[str, ...] = ()
    keeps: str = ""


LEARNERS: Final = {
    "mlp": Extension("nlbench.learners.mlp:Mlp", "nlbench.learners.config:MlpConfig"),
    "cms": Extension("nlbench.learners.cms:Cms", "nlbench.learners.config:CmsConfig"),
    "projected": Extension(
        "nlbench.learners.projected.learner:Projected",
        "nlbench.learners.projected.config:ProjectedConfig",
        keeps="grams of keys",
    ),
    "hope": Extension(
        "nlbench.learners.hope.learner:Hope", "nlbench.learners.hope.config:HopeConfig", keeps="a gram and sums of keys"
    ),
    "levels": Extension("nlbench.learners.levels:Levels", "nlbench.learners.gradient_config:LevelsConfig"),
    "naive": Extension("nlbench.learners.naive:Naive", "nlbench.learners.gradient_config:NaiveConfig"),
    "er": Extension("nlbench.learners.replay.er:Er", "nlbench.learners.replay.config:ErConfig", keeps="samples"),
    "er-ace": Extension("nlbench.learners.replay.er_ace:ErAce", "nlbench.learners.replay.config:ErAceConfig", keeps="samples"),
    "a-gem": Extension("nlbench.learners.replay.a_gem:AGem", "nlbench.learners.replay.config:AGemConfig", keeps="samples"),
    "gem": Extension(
        "nlbench.learners.replay.gem:Gem", "nlbench.learners.replay.config:GemConfig", ("boundaries",), keeps="samples"
    ),
    "der": Extension(
        "nlbench.learners.replay.der:Der", "nlbench.learners.replay.config:DerConfig", keeps="samples with their logits"
    ),
    "derpp": Extension(
        "nlbench.learners.replay.der:Derpp", "nlbench.learners.replay.config:DerppConfig", keeps="samples with their logits"
    ),
    "gdumb": Extension(
        "nlbench.learners.replay.gdumb:Gdumb", "nlbench.learners.replay.config:GdumbConfig", ("boundaries",), keeps="samples"
    ),
    "icarl": Extension(
        "nlbench.learners.replay.icarl:Icarl",
        "nlbench.learners.replay.config:IcarlConfig",
        ("boundaries",),
        keeps="samples, the network before",
    ),
    "bic": Extension(
        "nlbench.learners.replay.bic:Bic",
        "nlbench.learners.replay.config:BicConfig",
        ("boundaries",),
        keeps="samples, the network before",
    ),
    "dgr": Extension(
        "nlbench.learners.generative.dgr:Dgr",
        "nlbench.learners.generative.config:DgrConfig",
        ("boundaries",),
        keeps="a generator; both networks before",
    ),
    "mir": Extension("nlbench.learners.replay.mir:Mir", "nlbench.learners.replay.config:MirConfig", keeps="samples"),
    "independent": Extension(
        "nlbench.learners.bounds.independent:Independent",
        "nlbench.learners.bounds.config:IndependentConfig",
        needs=("boundaries",),
    ),
    "ncm": Extension("nlbench.learners.analytic.ncm:Ncm", "nlbench.learners.analytic.config:NcmConfig", keeps="sums by class"),
    "slda": Extension(
        "nlbench.learners.analytic.slda:Slda", "nlbench.learners.analytic.config:SldaConfig", keeps="sums by class, a covariance"
    ),
    "fecam": Extension(
        "nlbench.learners.analytic.fecam:Fecam",
        "nlbench.learners.analytic.config:FecamConfig",
        keeps="sums and second moments by class",
    ),
    "acil": Extension(
        "nlbench.learners.analytic.acil:Acil", "nlbench.learners.analytic.config:AcilConfig", keeps="inverse gram of features"
    ),
    "ranpac": Extension(
        "nlbench.learners.analytic.ranpac:Ranpac",
        "nlbench.learners.analytic.config:RanpacConfig",
        needs=("boundaries",),
        keeps="three grams of features",
    ),
    "randumb": Extension(
        "nlbench.learners.analytic.randumb:Randumb",
        "nlbench.learners.analytic.config:RandumbConfig",
        keeps="sums by class, gram of features",
    ),
    "pec": Extension(
        "nlbench.learners.analytic.pec:Pec", "nlbench.learners.analytic.config:PecConfig", keeps="a small network a class"
    ),
    "in-context": Extension("nlbench.learners.in_context:InContext", "nlbench.learners.config:InContextConfig", keeps="samples"),
    "chance": Extension("nlbench.learners.chance:Chance", "nlbench.learners.config:ChanceConfig"),
    "owm": Extension(
        "nlbench.learners.projections.owm:Owm", "nlbench.learners.projections.config:OwmConfig", keeps="a projector a layer"
    ),
    "gpm": Extension(
        "nlbench.learners.projections.gpm:Gpm",
        "nlbench.learners.projections.config:GpmConfig",
        needs=("boundaries",),
        keeps="a projector a layer; samples of the present task",
    ),
    "trgp": Extension(
        "nlbench.learners.projections.trgp:Trgp",
        "nlbench.learners.projections.config:TrgpConfig",
        needs=("boundaries", "task"),
        keeps="axes a layer, a matrix a layer and task; samples of the present task",
    ),
    "cuber": Extension(
        "nlbench.learners.projections.cuber:Cuber",
        "nlbench.learners.projections.config:CuberConfig",
        needs=("boundaries", "task"),
        keeps="axes a layer, a matrix and a gradient a layer and task; samples of the present task",
    ),
    "estimator": Extension("nlbench.learners.estimator:Estimator", "nlbench.learners.config:EstimatorConfig"),
    "ewc": Extension(
        "nlbench.learners.penalties.ewc:Ewc",
        "nlbench.learners.penalties.config:EwcConfig",
        needs=("boundaries",),
        keeps="two networks' worth: importances and means; samples of the present task",
    ),
    "mas": Extension(
        "nlbench.learners.penalties.mas:Mas",
        "nlbench.learners.penalties.config:MasConfig",
        needs=("boundaries",),
        keeps="two networks' worth: importances and means; samples of the present task",
    ),
    "si": Extension(
        "nlbench.learners.penalties.si:Si",
        "nlbench.learners.penalties.config:SiConfig",
        needs=("boundaries",),
        keeps="three networks' worth: importances, means and work",
    ),
    "rwalk": Extension(
        "nlbench.learners.penalties.rwalk:Rwalk",
        "nlbench.learners.penalties.config:RwalkConfig",
        needs=("boundaries",),
        keeps="eight networks' worth: importances, means and what they are made of",
    ),
    "lwf": Extension(
        "nlbench.learners.penalties.lwf:Lwf",
        "nlbench.learners.penalties.config:LwfConfig",
        needs=("boundaries",),
        keeps="the previous network",
    ),
    "l2-init": Extension(
        "nlbench.learners.plasticity.l2_init:L2Init",
        "nlbench.learners.plasticity.config:L2InitConfig",
        keeps="the initial network",
    ),
    "shrink-and-perturb": Extension(
        "nlbench.learners.plasticity.shrink_and_perturb:ShrinkAndPerturb",
        "nlbench.learners.plasticity.config:ShrinkAndPerturbConfig",
        needs=("boundaries",),
    ),
    "continual-backprop": Extension(
        "nlbench.learners.plasticity.continual_backprop:ContinualBackprop",
        "nlbench.learners.plasticity.config:ContinualBackpropConfig",
        keeps="use and age of each unit",
    ),
    "upgd": Extension(
        "nlbench.learners.plasticity.upgd:Upgd",
        "nlbench.learners.plasticity.config:UpgdConfig",
        keeps="a network's worth: use of each weight",
    ),
    "multi-head": Extension(
        "nlbench.learners.isolation.multi_head:MultiHead",
        "nlbench.learners.isolation.config:MultiHeadConfig",
        needs=("task",),
        keeps="a head a task",
    ),
    "hat": Extension(
        "nlbench.learners.isolation.hat:Hat",
        "nlbench.learners.isolation.config:HatConfig",
        needs=("boundaries", "task"),
        keeps="gates of units and a head, each a task",
    ),
    "packnet": Extension(
        "nlbench.learners.isolation.packnet:PackNet",
        "nlbench.learners.isolation.config:PackNetConfig",
        needs=("boundaries", "task"),
        keeps="the task of each weight; a head a task",
    ),
}

NETWORKS: Final = {
    "mlp": Extension("nlbench.networks.mlp:Mlp", "nlbench.networks.config:MlpConfig"),
    "convolutional": Extension("nlbench.networks.convolutional:Convolutional", "nlbench.networks.config:ConvolutionalConfig"),
    "resnet18": Extension("nlbench.networks.resnet18:Resnet18", "nlbench.networks.config:Resnet18Config"),
    "inputs": Extension("nlbench.networks.features:Inputs", "nlbench.networks.config:InputsConfig"),
    "random-relu": Extension("nlbench.networks.features:RandomRelu", "nlbench.networks.config:RandomReluConfig"),
    "random-fourier": Extension("nlbench.networks.features:RandomFourier", "nlbench.networks.config:RandomFourierConfig"),
    "random-convolution": Extension(
        "nlbench.networks.features:RandomConvolution", "nlbench.networks.config:RandomConvolutionConfig"
    ),
    "sequence": Extension("nlbench.networks.sequence:Sequence", "nlbench.networks.config:SequenceConfig"),
    "valley": Extension("nlbench.networks.valley:Valley", "nlbench.networks.config:ValleyConfig"),
    "module": Extension("nlbench.networks.module:Module", "nlbench.networks.config:ModuleConfig"),
}

STREAMS: Final = {
    "split": Extension("nlbench.streams.split:SplitStream", "nlbench.streams.config:Split"),
    "permuted": Extension("nlbench.streams.whole:PermutedStream", "nlbench.streams.config:Permuted"),
    "rotated": Extension("nlbench.streams.whole:RotatedStream", "nlbench.streams.config:Rotated"),
    "drifting": Extension("nlbench.streams.whole:DriftingStream", "nlbench.streams.config:Drifting"),
    "instances": Extension("nlbench.streams.instances:InstanceStream", "nlbench.streams.config:Instances"),
    "relabelled": Extension("nlbench.streams.whole:RelabelledStream", "nlbench.streams.config:Relabelled"),
    "arrays": Extension("nlbench.streams.arrays:ArrayStream", "nlbench.streams.config:Arrays"),
}

SOURCES: Final = {
    "digits": Extension("nlbench.sources.pixels:DIGITS"),
    "mnist": Extension("nlbench.sources.idx:MNIST"),
    "fashion-mnist": Extension("nlbench.sources.idx:FASHION_MNIST"),
    "mnist-5k": Extension("nlbench.sources.pixels:MNIST_5K"),
    "newsgroups": Extension("nlbench.sources.text:NEWSGROUPS"),
    "r8": Extension("nlbench.sources.text:R8"),
    "r52": Extension("nlbench.sources.text:R52"),
    "newsgroups-wordllama": Extension("nlbench.sources.text:NEWSGROUPS_WORDLLAMA"),
    "r8-wordllama": Extension("nlbench.sources.text:R8_WORDLLAMA"),
    "r52-wordllama": Extension("nlbench.sources.text:R52_WORDLLAMA"),
    "letters": Extension("nlbench.sources.tables:LETTERS"),
    "satellite": Extension("nlbench.sources.tables:SATELLITE"),
    "shuttle": Extension("nlbench.sources.tables:SHUTTLE"),
    "vowel": Extension("nlbench.sources.tables:VOWEL"),
    "vehicle": Extension("nlbench.sources.tables:VEHICLE"),
    "appliances": Extension("nlbench.sources.series:APPLIANCES"),
    "speakers": Extension("nlbench.sources.series:SPEAKERS"),
    "gestures": Extension("nlbench.sources.series:GESTURES"),
    "leaves": Extension("nlbench.sources.series:LEAVES"),
    "motions": Extension("nlbench.sources.series:MOTIONS"),
    "mnist1d": Extension("nlbench.sources.generated:MNIST1D"),
    "formal-languages": Extension("nlbench.sources.symbols:FORMAL_LANGUAGES"),
    "recall": Extension("nlbench.sources.symbols:RECALL"),
    "translations": Extension("nlbench.sources.invented:TRANSLATIONS"),
    "short-words": Extension("nlbench.sources.invented:SHORT_WORDS"),
    "short-recall": Extension("nlbench.sources.invented:SHORT_RECALL"),
    "topics": Extension("nlbench.sources.invented:TOPICS"),
    "associations": Extension("nlbench.sources.invented:ASSOCIATIONS"),
    "sides": Extension("nlbench.sources.invented:SIDES"),
    "scripts": Extension("nlbench.sources.glyphs:SCRIPTS"),
    "fonts": Extension("nlbench.sources.glyphs:FONTS"),
    "cifar10": Extension("nlbench.sources.cifar:CIFAR10"),
    "cifar100": Extension("nlbench.sources.cifar:CIFAR100"),
    "svhn": Extension("nlbench.sources.svhn:SVHN"),
    "kmnist": Extension("nlbench.sources.idx:KMNIST"),
    "emnist-letters": Extension("nlbench.sources.idx:EMNIST_LETTERS"),
    "emnist-balanced": Extension("nlbench.sources.idx:EMNIST_BALANCED"),
    "tiny-imagenet": Extension("nlbench.sources.zipped:TINY_IMAGENET"),
    "core50": Extension("nlbench.sources.zipped:CORE50"),
}

_TABLES: Final[dict[Group, dict[str, Extension]]] = {
    "learners": LEARNERS,
    "networks": NETWORKS,
    "streams": STREAMS,
    "sources": SOURCES,
    "metrics": {},
}
_ONE: Final[dict[Group, str]] = {
    "learners": "learner",
    "networks": "network",
    "streams": "stream kind",
    "sources": "data set",
    "metrics": "metric",
}


def names(kind: Kind) -> list[str]:
    """Return the declared names of one kind, sorted."""
    return sorted(path.stem for path in (ROOT / FOLDERS[kind]).glob("*.toml"))


def find(kind: Kind, name: str) -> Path:
    """Return the file of a declared name, or the path itself where one is given. Raises `UnknownNameError` with the nearest
    names.
    """
    if name.endswith(".py"):
        raise NlbenchError(f"{name}: names no class.", f"Name a {kind} of a file of your own as {name}:Name.")
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise NlbenchError(f"{name}: there is no such {kind} file.", f"`nlbench list {kind}s` shows the declared names.")
        return path
    path = ROOT / FOLDERS[kind] / f"{name}.toml"
    if not path.is_file():
        raise unknown(kind, name)
    return path


def unknown(kind: Kind, name: str, registered: Iterable[str] = ()) -> UnknownNameError:
    """Return the error for a name of no model or stream: that it is one of the other kind, or the nearest and how one's own is
    named.
    """
    for other in ("model", "stream"):
        if other != kind and name in names(other):
            return UnknownNameError(kind, name, (), f"It is a {other}: name it with --{other}.")
    if kind == "stream" and Path(name).exists():
        return UnknownNameError(kind, name, (), f"What lies here is named ./{name}.")
    own = {"model": "./file.py:Class", "stream": "./file.toml, or its data ./file.csv or ./folder"}.get(kind, "./file.toml")
    return UnknownNameError(kind, name, [*names(kind), *registered], f"One of your own is named {own}.")


def extensions(group: Group) -> list[str]:
    """Return the names of a group's extensions: ours in the table's order, then what is registered, sorted."""
    return [*_TABLES[group], *sorted(registered(group).keys() - _TABLES[group].keys())]


def registered(group: Group) -> Mapping[str, EntryPoint]:
    """Return the entry points of a group by name; looked up anew where what is installed has changed."""
    installed = tuple((place, os.stat(place).st_mtime_ns) for place in sys.path if place and os.path.exists(place))
    return _installed(installed, entry_points).get(f"nlbench.{group}", {})


@cache
def _installed(
    installed: tuple[tuple[str, int], ...], found: Callable[[], EntryPoints]
) -> Mapping[str, Mapping[str, EntryPoint]]:
    """Return the entry points of all that is installed, by group and name: every package is looked at once."""
    points = found()
    ours = (group for group in points.groups if group.startswith("nlbench."))
    return {group: {point.name: point for point in points.select(group=group)} for group in ours}


def extension(group: Group, name: str, fits: Callable[[Any], bool], rule: str, way_out: str = "") -> Any:
    """Return what a name stands for: a row of the group's table, an entry point, `./file.py:Name` or `package.module:Name`.

    `fits` says whether an object is one of the group; `rule` says so in words, `way_out` what to do where it is none. Raises
    `NlbenchError` where it does not fit or cannot be imported, `UnknownNameError` with the nearest names where there is none.
    """
    value = _named(group, name, fits)
    if not fits(value):
        raise NlbenchError(f"{name}: must be {rule}, got {value!r}.", way_out)
    return value


def config(group: Group, name: str) -> Any:
    """Return the config class that a table's row names. Raises `KeyError` for an extension that is not ours."""
    module, _, attribute = _TABLES[group][name].config.partition(":")
    return getattr(importlib.import_module(module), attribute)


def built_in(group: Group, name: str) -> bool:
    """Return whether a name is a row of the group's table."""
    return name in _TABLES[group]


def needs(learner: str) -> tuple[str, ...]:
    """Return what a learner of ours needs, such as boundaries; nothing of another, whose class alone can say."""
    return LEARNERS.get(learner, Extension("")).needs


def keeps(learner: str) -> str:
    """Return what a learner of ours keeps beside its network, such as samples; "" of another."""
    return LEARNERS.get(learner, Extension("")).keeps


def place(group: Group, name: str) -> tuple[str, str]:
    """Return in which module or file an extension is, `package.module` or `./file.py`, and under which name there.

    Raises `UnknownNameError` with the nearest names where there is none. Imports nothing.
    """
    table = _TABLES[group]
    where, _, attribute = (table[name].place if name in table else name).rpartition(":")
    if where:
        return where, attribute
    points = registered(group)
    if name not in points:
        raise UnknownNameError(_ONE[group], name, [*table, *points])
    return points[name].module, points[name].attr


def modules(group: Group, name: str) -> list[str]:
    """Return where an extension of ours and its config are, each as `module:Name`."""
    row = _TABLES[group].get(name, Extension(name))
    return [place for place in (row.place, row.config) if place]


def brought_in(group: Group, name: str) -> Reached | None:
    """Return what an extension that is not ours brings in, None for one of the package. Imports nothing."""
    kind = closure.given(name)
    if kind is not None:
        return closure.reached_by(name, kind)
    where, attribute = place(group, name)
    if where == closure.MAIN:
        raise UnknownNameError(f"{_ONE[group]} of this session", attribute, vars(sys.modules[where]))
    return None if closure.ours(where) else closure.outside(where, _ONE[group])


def _named(group: Group, name: str, fits: Callable[[Any], bool]) -> Any:
    kind = closure.given(name)
    if kind is not None:
        return kind
    where, attribute = place(group, name)
    reached = brought_in(group, name)
    with Blamed(where, os.path.realpath(where) if where.endswith(".py") else ""):
        module = importlib.import_module(where) if reached is None else closure.load(where, reached)
    value: Any = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            known = [label for label, one in vars(module).items() if fits(one)]
            raise UnknownNameError(f"{_ONE[group]} in {where}", attribute, known)
        value = getattr(value, part)
    return value
