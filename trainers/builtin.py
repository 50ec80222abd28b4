"""The entries that come with Sweeper, with their parameters. Never imports torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainers.blocks import Block, PerMember
from trainers.catalogue import Entry, add

Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
At = Literal["end", "evaluations"]


class FocalKeys(Block):
    """The loss `focal`."""

    gamma: Annotated[NotNegative, PerMember()] = Field(
        default=2.0, description="How little right samples count; 0 is cross-entropy."
    )


class LDAMKeys(Block):
    """The loss `ldam`, which needs `head: cosine`."""

    margin: Annotated[NotNegative, PerMember()] = Field(
        default=0.5, description="The margin of the smallest class; 0 is cross-entropy."
    )


class LogitAdjustedKeys(Block):
    """The loss `logit_adjusted`."""

    tau: Annotated[NotNegative, PerMember()] = Field(
        default=1.0, description="The share of ln pi; 1 is balanced softmax, 0 is cross-entropy."
    )


class VectorScalingKeys(Block):
    """The loss `vs`."""

    gamma: Annotated[NotNegative, PerMember()] = Field(
        default=0.3, description="The power of n_max/n_c that logits are divided by."
    )
    tau: Annotated[NotNegative, PerMember()] = Field(default=1.0, description="The share of ln pi.")


class RandAugmentKeys(Block):
    """The augmentation `rand_augment`."""

    operations: Annotated[int, Field(ge=1, le=14)] = Field(
        default=2, description="N, operations for each image."
    )
    strength: Annotated[int, Field(ge=0, le=30)] = Field(
        default=9, description="M, their strength, of 30."
    )


class MixupKeys(Block):
    """The augmentation `mixup`."""

    alpha: Positive = Field(default=1.0, description="lam is drawn from Beta(alpha, alpha).")


class CutMixKeys(Block):
    """The augmentation `cutmix`."""

    alpha: Positive = Field(default=1.0, description="lam is drawn from Beta(alpha, alpha).")
    probability: Probability = Field(default=0.5, description="The share of images that get a box.")


class MarginsKeys(Block):
    """The observer `margins`."""

    at: At = Field(default="end", description="When it looks.")
    samples: Annotated[int, Field(ge=1)] = Field(
        default=10, description="The most samples of each class, on each split."
    )
    lines: Annotated[int, Field(ge=1)] = Field(
        default=5, description="Lines from each sample towards samples of other classes."
    )
    rivals: Annotated[int, Field(ge=1)] = Field(
        default=9, description="The classes with the next largest logits that are looked at."
    )


class GradientNoiseKeys(Block):
    """The observer `gradient_noise`."""

    at: At = Field(default="evaluations", description="When it looks.")
    samples: Annotated[int, Field(ge=2)] = Field(
        default=16, description="The most samples of each class; each costs a step at batch 1."
    )


class ErasingKeys(Block):
    """The augmentation `erasing`."""

    probability: Probability = Field(
        default=0.5, description="The share of images that lose a rectangle."
    )


class RemixKeys(Block):
    """The augmentation `remix`."""

    alpha: Positive = Field(default=1.0, description="lam is drawn from Beta(alpha, alpha).")
    ratio: Annotated[float, Field(ge=1.0)] = Field(
        default=3.0, description="kappa: how many times as large the other class has to be."
    )
    share: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.5,
        description="tau: below this share of the larger class, the target is the smaller class; "
        "0 is mixup.",
    )


class ColorJitterKeys(Block):
    """The augmentation `color_jitter`."""

    strength: Annotated[float, Field(ge=0.0, le=1.25)] = Field(
        default=0.5,
        description="s: brightness, contrast and saturation by 1 +- 0.8 s, hue by +- 0.2 s turns.",
    )
    probability: Probability = Field(default=0.8, description="The share of images that change.")


class BlurKeys(Block):
    """The augmentation `blur`."""

    sigma: Annotated[float, Field(ge=0.1, le=32.0)] = Field(
        default=1.0, description="The largest sigma, in pixels; that of an image is uniform."
    )
    probability: Probability = Field(default=0.5, description="The share of images that change.")


class NoiseKeys(Block):
    """The augmentation `noise`."""

    strength: NotNegative = Field(
        default=0.1, description="The noise's deviation; columns of numbers have deviation 1."
    )


class SwapKeys(Block):
    """The augmentation `swap`."""

    share: Probability = Field(
        default=0.1, description="The share of the values that are replaced."
    )


class SimCLRKeys(Block):
    """The SSL loss `simclr`."""

    queue: Annotated[int, Field(ge=0, le=65_536)] = Field(
        default=0,
        description="Projections of earlier updates that are further negatives, two for each "
        "sample; 0 is none. An alternative to a larger ssl.batch_multiple, at no pass more.",
    )


class BarlowTwinsKeys(Block):
    """The SSL loss `barlow_twins`."""

    off_diagonal: Annotated[NotNegative, PerMember()] = Field(
        default=0.0051, description="lambda, the weight of correlations between dimensions."
    )


class BYOLKeys(Block):
    """The SSL loss `byol`."""

    tau: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.996, description="The share of itself that the target keeps at the start."
    )


class MaskedKeys(Block):
    """The SSL loss `masked`."""

    share: Share = Field(default=0.75, description="The share of the patches that are masked.")


class SCARFKeys(Block):
    """The SSL loss `scarf`."""

    share: Share = Field(default=0.6, description="The share of the columns that are replaced.")
    temperature: Annotated[Positive, PerMember()] = Field(default=1.0, description="tau.")


class VIMEKeys(Block):
    """The SSL loss `vime`."""

    share: Share = Field(default=0.3, description="The share of the columns that are replaced.")
    restoration: Annotated[NotNegative, PerMember()] = Field(
        default=2.0, description="Weight of the restored values beside the mask."
    )


class ImbSAMKeys(Block):
    """The sharpness method `imbsam`."""

    tail: Annotated[int, Field(ge=1), PerMember()] = Field(
        default=20, description="Classes with fewer training samples are made flat."
    )


class CCSAMKeys(Block):
    """The sharpness method `cc_sam`, whose `sam.radius` is small: 4e-6 in the authors' code."""

    share: Annotated[float, Field(ge=0.0, le=1.0), PerMember()] = Field(
        default=0.3, description="f, the share of the loss uphill."
    )


class FocalSAMKeys(Block):
    """The sharpness method `focal_sam`."""

    share: Annotated[float, Field(ge=0.0, le=1.0), PerMember()] = Field(
        default=0.5, description="lambda, the largest share of a class's loss that is made flat."
    )
    gamma: Annotated[NotNegative, PerMember()] = Field(
        default=3.0, description="The power of 1 - n_c/N."
    )


class FTTransformerKeys(Block):
    """The model `ft_transformer`."""

    heads: Annotated[int, Field(ge=1, le=64)] = Field(
        default=8, description="Attention heads; a token has a multiple of it numbers."
    )


class TabMKeys(Block):
    """The model `tabm`."""

    submodels: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=32, description="k, the perceptrons; each has its own scales, biases and head."
    )


class ConvNeXtKeys(Block):
    """The network `convnext`."""

    patch: Annotated[int, Field(ge=1, le=32)] = Field(
        default=4, description="Pixels a side of the first convolution, which is its stride too."
    )


class ViTKeys(Block):
    """The network `vit`."""

    patch: Annotated[int, Field(ge=1, le=64)] = Field(
        default=4, description="Pixels a side of a patch; 16 is usual for images of 224 pixels."
    )
    heads: Annotated[int, Field(ge=1, le=64)] = Field(
        default=3, description="Heads of an attention."
    )


class LightGBMKeys(Block):
    """The model `lightgbm`. Class weights apply to it, and so does `post_hoc_tau`."""

    trees: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=100, description="Trees of each class; they are spread over the run's rounds."
    )
    leaves: Annotated[int, Field(ge=2, le=131_072), PerMember()] = Field(
        default=31, description="The most leaves of a tree."
    )
    learning_rate: Annotated[Positive, PerMember()] = Field(
        default=0.1, description="What each tree is multiplied by."
    )
    min_leaf: Annotated[int, Field(ge=0), PerMember()] = Field(
        default=20, description="The fewest training samples of a leaf."
    )
    l2: Annotated[NotNegative, PerMember()] = Field(
        default=0.0, description="L2 penalty of the leaves' values."
    )
    feature_share: Annotated[float, Field(gt=0.0, le=1.0), PerMember()] = Field(
        default=1.0, description="The share of the columns that a tree sees."
    )
    sample_share: Annotated[float, Field(gt=0.0, le=1.0), PerMember()] = Field(
        default=1.0, description="The share of the samples that a tree sees."
    )


RESIDUAL = (
    "body_lr",
    "ghost_batch",
    "weight_standardisation",
    "stem",
    "dropout",
    "stochastic_depth",
)
TABULAR = ("body_lr", "depth", "dropout", "numerical_embedding.kind")

# What needs gradients, batches or layers, and so does not go with trees.
FOR_NETWORKS = {
    "train.width": 1.0,
    "train.augmentation": "none",
    "train.loss": "cross_entropy",
    "train.class_weights.start": 0.0,
    "train.head": "linear",
    "train.sampler": "shuffled",
    "train.smoothing.minority": 0.0,
    "train.smoothing.majority": 0.0,
    "train.average.method": "none",
    "train.ssl.weight": 0.0,
    "train.sam.radius": 0.0,
    "train.accumulation": 1,
    "train.gradient": "mean",
    "train.observe": (),
}

ENTRIES = (
    Entry("model", "resnet", "trainers.models.resnet:ResNet", data=("image",),
          uses=("depth", *RESIDUAL),
          meaning="Residual network for small images (He et al. 2016)."),
    *(
        Entry("model", f"resnet{depth}", "trainers.models.imagenet:ImageNetResNet",
              data=("image",), uses=RESIDUAL,
              meaning=f"ResNet-{depth} of four stages, as in torchvision (He et al. 2016).")
        for depth in (18, 34, 50)
    ),
    Entry("model", "convnext", "trainers.models.convnext:ConvNeXt", ConvNeXtKeys, data=("image",),
          uses=("body_lr", "depth", "dropout", "stochastic_depth"),
          meaning="ConvNeXt (Liu et al. 2022); at width 1 and depth 12 ConvNeXt-Atto."),
    Entry("model", "vit", "trainers.models.vit:ViT", ViTKeys, data=("image",),
          uses=("body_lr", "depth", "dropout", "stochastic_depth"),
          meaning="Vision transformer (Dosovitskiy et al. 2021); DeiT-Tiny at width 1, depth 12."),
    Entry("model", "mlp", "trainers.models.mlp:MLP", data=("table",),
          uses=("ghost_batch", *TABULAR),
          meaning="Multilayer perceptron."),
    Entry("model", "residual_mlp", "trainers.models.residual_mlp:ResidualMLP", data=("table",),
          uses=("ghost_batch", *TABULAR),
          meaning="Residual network for tables (Gorishniy et al. 2021)."),
    Entry("model", "ft_transformer", "trainers.models.ft_transformer:FTTransformer",
          FTTransformerKeys, data=("table",), uses=TABULAR,
          meaning="Transformer whose tokens are a row's columns (Gorishniy et al. 2021)."),
    Entry("model", "tabm", "trainers.models.tabm:TabM", TabMKeys, data=("table",),
          needs={"train.head": "linear", "train.ssl.weight": 0.0},
          uses=TABULAR,
          meaning="Many multilayer perceptrons that share their weights (Gorishniy et al. 2024)."),
    Entry("model", "torchvision:NAME", "trainers.models.ready:torchvision_network",
          data=("image",), check="trainers.models.ready:check_torchvision",
          meaning="A network of torchvision by its name, such as torchvision:resnet18."),
    Entry("model", "timm:NAME", "trainers.models.ready:timm_network", data=("image",),
          check="trainers.models.ready:check_timm", package="timm", extra="timm",
          meaning="A network of timm by its name; needs sweeper[timm]."),
    Entry("model", "lightgbm", None, LightGBMKeys, data=("table",), needs=FOR_NETWORKS,
          trainer="trainers.trees:TreesTrainer", package="lightgbm", extra="trees",
          meaning="Gradient-boosted trees (Ke et al. 2017), a control; no key of an optimizer, a "
          "batch or an epoch changes them."),
    Entry("loss", "cross_entropy", "trainers.losses.cross_entropy:CrossEntropy",
          meaning="Cross-entropy."),
    Entry("loss", "focal", "trainers.losses.focal:Focal", FocalKeys,
          meaning="Focal loss (Lin et al. 2017)."),
    Entry("loss", "ldam", "trainers.losses.ldam:LDAM", LDAMKeys, needs={"train.head": "cosine"},
          meaning="Margins by class size (Cao et al. 2019)."),
    Entry("loss", "logit_adjusted", "trainers.losses.logit_adjusted:LogitAdjusted",
          LogitAdjustedKeys,
          meaning="Cross-entropy of z + tau ln pi (Menon et al. 2021); balanced softmax at tau 1."),
    Entry("loss", "vs", "trainers.losses.logit_adjusted:VectorScaling", VectorScalingKeys,
          meaning="Vector scaling: z / D + tau ln pi (Kini et al. 2021)."),
    Entry("sampler", "shuffled", "trainers.samplers.shuffled:Shuffled",
          meaning="Every sample once an epoch, in random order."),
    Entry("sampler", "balanced", "trainers.samplers.balanced:Balanced",
          meaning="As many places in an epoch for each class (Kang et al. 2020)."),
    Entry("sampler", "sqrt", "trainers.samplers.balanced:SquareRoot",
          meaning="Places by the square root of a class's samples (Mahajan et al. 2018)."),
    Entry("sampler", "progressive", "trainers.samplers.balanced:Progressive",
          meaning="From the samples' shares to equal shares along the run (Kang et al. 2020)."),
    Entry("sampler", "spread", "trainers.samplers.composed:Spread",
          meaning="As shuffled, with the minority at equal distances over the batches."),
    Entry("sampler", "concentrated", "trainers.samplers.composed:Concentrated",
          meaning="As shuffled, with the minority in as few batches as possible."),
    Entry("sampler", "guaranteed", "trainers.samplers.composed:Guaranteed",
          meaning="As shuffled, with a minority sample in each batch, as far as they go."),
    Entry("sampler", "separate", "trainers.samplers.composed:Separate",
          meaning="As often as shuffled, but no batch has both minority and other samples."),
    Entry("augmentation", "none", "trainers.augment:NONE", meaning="No augmentation."),
    Entry("augmentation", "flip_crop", "trainers.augment:FLIP_CROP", data=("image",),
          meaning="Mirror, and crop after padding."),
    Entry("augmentation", "trivial_augment", "trainers.augment:TRIVIAL_AUGMENT", data=("image",),
          strong=True,
          meaning="TrivialAugment (Müller & Hutter 2021)."),
    Entry("augmentation", "rand_augment", "trainers.augment:rand_augment_of", RandAugmentKeys,
          data=("image",), strong=True, meaning="RandAugment (Cubuk et al. 2020)."),
    Entry("augmentation", "auto_augment", "trainers.augment:AUTO_AUGMENT", data=("image",),
          meaning="AutoAugment's policy for CIFAR-10 (Cubuk et al. 2019)."),
    Entry("augmentation", "mixup", "trainers.augment:mixup_of", MixupKeys, mixes=True,
          meaning="Mixup (Zhang et al. 2018)."),
    Entry("augmentation", "erasing", "trainers.augment:erasing_of", ErasingKeys, data=("image",),
          meaning="Random erasing (Zhong et al. 2020)."),
    Entry("augmentation", "cutmix", "trainers.augment:cutmix_of", CutMixKeys, data=("image",),
          mixes=True, meaning="CutMix (Yun et al. 2019)."),
    Entry("augmentation", "remix", "trainers.augment:remix_of", RemixKeys, mixes=True,
          meaning="Mixup whose target is the much smaller class of a pair (Chou et al. 2020)."),
    Entry("augmentation", "color_jitter", "trainers.augment:color_jitter_of", ColorJitterKeys,
          data=("image",), strong=True, meaning="Brightness, contrast, saturation and hue."),
    Entry("augmentation", "blur", "trainers.augment:blur_of", BlurKeys, data=("image",),
          strong=True, meaning="Gaussian blur."),
    Entry("augmentation", "noise", "trainers.row_noise:noise_of", NoiseKeys, data=("table",),
          strong=True, meaning="Gaussian noise on the columns of numbers."),
    Entry("augmentation", "swap", "trainers.row_noise:swap_of", SwapKeys, data=("table",),
          strong=True,
          meaning="Values of other rows, each by itself (Yoon et al. 2020)."),
    Entry("ssl", "simclr", "trainers.ssl.simclr:SimCLR", SimCLRKeys, passes=2,
          meaning="NT-Xent of two views (Chen et al. 2020)."),
    Entry("ssl", "vicreg", "trainers.ssl.vicreg:VICReg", passes=2,
          meaning="Variance, invariance and covariance (Bardes et al. 2022)."),
    Entry("ssl", "barlow_twins", "trainers.ssl.barlow:BarlowTwins", BarlowTwinsKeys, passes=2,
          meaning="Cross-correlation pulled to the identity (Zbontar et al. 2021)."),
    Entry("ssl", "byol", "trainers.ssl.byol:BYOL", BYOLKeys, passes=3,
          meaning="Predicts a slowly moving network's view (Grill et al. 2020)."),
    Entry("ssl", "masked", "trainers.ssl.masked:Masked", MaskedKeys, data=("image",),
          meaning="Reconstructs masked patches (He et al. 2022)."),
    Entry("ssl", "scarf", "trainers.ssl.scarf:SCARF", SCARFKeys, data=("table",), passes=2,
          meaning="Contrasts rows with corrupted copies (Bahri et al. 2022)."),
    Entry("ssl", "vime", "trainers.ssl.vime:VIME", VIMEKeys, data=("table",),
          meaning="Finds and restores corrupted values (Yoon et al. 2020)."),
    Entry("sharpness", "sam", "trainers.steps.sam:SAMStep", passes=2,
          meaning="SAM (Foret et al. 2021), and SAM-A where the asymmetry is above 0."),
    Entry("sharpness", "asam", "trainers.steps.asam:ASAM", passes=2,
          meaning="Adaptive SAM (Kwon et al. 2021)."),
    Entry("sharpness", "imbsam", "trainers.steps.split_sam:ImbSAM", ImbSAMKeys, passes=2,
          meaning="SAM for small classes only (Zhou et al. 2023)."),
    Entry("sharpness", "focal_sam", "trainers.steps.split_sam:FocalSAM", FocalSAMKeys, passes=2,
          meaning="SAM for a share of each class's loss, by its size (Li et al. 2025)."),
    Entry("sharpness", "cc_sam", "trainers.steps.ccsam:CCSAM", CCSAMKeys,
          meaning="A radius for each class, around the last layer (Zhou et al. 2023, stage 1)."),
    Entry("optimizer", "sgd", "trainers.optimizers:SGD",
          meaning="Stochastic gradient descent with momentum."),
    Entry("optimizer", "adamw", "trainers.optimizers:AdamW",
          meaning="AdamW (Loshchilov & Hutter 2019)."),
    Entry("observer", "margins", "trainers.observers.margins:Margins", MarginsKeys,
          metrics=tuple(f"{kind}_margin{low}" for kind in ("input", "gradient", "feature", "logit")
                        for low in ("", "_q10")),
          splits=("test", "train"),
          meaning="Distances to other classes' regions (Somepalli et al. 2022)."),
    Entry("observer", "gradient_noise", "trainers.observers.gradient_noise:GradientNoise",
          GradientNoiseKeys, splits=("train",),
          metrics=("gradient_noise", "gradient_variance", "gradient_square"),
          meaning="The gradient noise scale (McCandlish et al. 2018)."),
)  # fmt: skip

for _entry in ENTRIES:
    add(_entry)
