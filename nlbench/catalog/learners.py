"""Learners: the row of each names its class, its config, what it needs and what it keeps."""

from __future__ import annotations

from typing import Final

from nlbench.catalog.extension import Extension

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
    "averaged": Extension(
        "nlbench.learners.bounds.averaged:Averaged",
        "nlbench.learners.bounds.config:AveragedConfig",
        keeps="averages of parameters",
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
