"""Networks: the row of each names its class and its config."""

from __future__ import annotations

from typing import Final

from nlbench.catalog.extension import Extension

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
