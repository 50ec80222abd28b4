"""The words of the page, each in a line: what a reader meets in headings, captions and verdicts."""

from __future__ import annotations

import re
from collections.abc import Iterable

Entry = tuple[str, str]

OF_ONE = (
    ("cell", "One configuration: a level of every factor."),
    ("hash", "The first digits of what names a cell's whole configuration."),
    ("reference", "The level that the other levels of its factor are compared with."),
    ("replicate", "A repetition with its own initialisation, data order and draw of the training "
     "subset. All cells share them, so cells are compared within a replicate."),
    ("n", "The number of replicates behind a number."),
    ("sd", "The standard deviation over replicates: how far single runs lie from their mean."),
    ("df", "Degrees of freedom: on how many free numbers the width of an interval rests."),
    ("two stages", "The spread of the first replicates told how many it takes to know a difference "
     "as exactly as was asked before the sweep began."),
    ("look", "A planned moment to judge the sweep. Several looks share the error of one between "
     "them, so each has wider intervals."),
    ("screening", "A few replicates of every cell, to find those that may be the best. Only fresh "
     "replicates of these are reported, for whoever looks best among many looks too good."),
    ("95 % interval", "The range of values that the data are compatible with. Made in this way, 95 "
     "of 100 such intervals contain the true mean."),
    ("simultaneous", "The intervals of a family are widened so that, in 95 of 100 families, all of "
     "them are right at once."),
    ("family", "The comparisons that are judged together, and how many they are."),
    ("p", "How often chance alone would show at least such a difference. It is adjusted "
     "for the family (Bonferroni); by signs it is how often flipped signs would do as well."),
    ("point", "One percentage point: from 80 % to 81 % is one point."),
    ("per doubling", "The change when a factor doubles, averaged over its range."),
    ("beaten", "Said of a level that is worse than another one within replicates, by the joint "
     "intervals of all pairs; any other level may be best."),
    ("costs", "What a level gives away against the best level, from the least to the most that the "
     "joint intervals allow."),
    ("Pareto set", "The cells of which no other is as good in both accuracies and better in one."),
    ("tuning curve", "What the best of n trials of random search reaches, over n."),
    ("price", "How many majority errors one minority error weighs."),
    ("joint region", "Where both means of a cell may lie. Made in this way, 95 of 100 such regions "
     "contain the two true means."),
    ("noise", "What differs between replicates of a cell, once the offset is taken out that all "
     "cells of a replicate share."),
    ("interaction", "How much the effect of one factor depends on the level of another."),
    ("minority, majority", "The third of the classes with the fewest, and with the most, training "
     "samples. A group's accuracy is the mean of its classes' recalls."),
    ("balanced accuracy", "The mean of the recalls of all classes, large and small alike."),
    ("recall", "The share of a class's samples that are recognised."),
    ("this test set, new data", "An interval for this test set counts how runs differ. One for new "
     "data counts as well that other test examples would have been harder or easier."),
    ("single answers", "The luck of one run with one test example. It averages out over runs and "
     "over examples."),
    ("train ratio", "Samples of the smallest class over samples of the largest; 1 is balanced."),
    ("calibration error", "How far the confidence of predictions is from the share that is right."),
    ("epoch, update", "A pass over the training subset; one step of the optimizer."),
    ("critical batch size", "Below it a larger batch saves steps almost in proportion; above it, "
     "hardly any."),
    ("rank correlation", "1 where two orders are alike, -1 where one reverses the other."),
    ("descriptive", "Says what these runs show, without a test."),
    ("test, val", "Reported numbers are read on the test split. The validation split (val) serves "
     "selection only."),
    ("undecided", "The interval holds 0 and is too wide for about equal; more replicates may "
     "tell."),
    ("about equal", "The whole interval lies within one point of 0."),
    ("fair", "Said of a comparison with a tuned learning rate, equal budgets, no pick at the edge "
     "of its range, complete blocks of replicates and no collapse, as far as each applies."),
    ("withheld", "No verdict is given: runs are still to come, or it would rest on a pick at the "
     "edge of its range, and better values may lie beyond."),
    ("suggests", "Said of verdicts over three or four replicates: too few to be firm."),
    ("exploratory", "Looked at besides the question; treat as a hint for the next sweep."),
    ("pruned", "Stopped early because it was clearly behind."),
    ("diverged", "The loss or the outputs stopped being finite numbers."),
    ("collapsed", "A run that ends at chance, or far below the others of its cell. It is kept."),
)  # fmt: skip

OF_SEVERAL = (
    ("data set, task", "What a statement over sweeps counts. Sweeps of the same data under several "
     "budgets are one."),
    ("Kendall's W", "How alike all data sets order the levels: 1 all the same, 0 not at all."),
    ("interquartile mean", "The mean of the middle half of all values."),
    ("performance profile", "Of how many data sets a level's mean is at least as good as a score, "
     "drawn over the score."),
)  # fmt: skip


def used(entries: Iterable[Entry], text: str) -> list[Entry]:
    """The entries of which a word stands in the text, alone or with the ending of a plural."""
    plain = " ".join(text.split())
    return [
        entry for entry in entries if any(_stands(word, plain) for word in entry[0].split(", "))
    ]


def _stands(word: str, text: str) -> bool:
    return bool(re.search(rf"(?<!\w){re.escape(word)}s?(?!\w)", text, flags=re.IGNORECASE))
