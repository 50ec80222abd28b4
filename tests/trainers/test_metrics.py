"""Metrics against scikit-learn and plain loops."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn import metrics as sk

from trainers.config import OBJECTIVES
from trainers.groups import class_groups, minority_and_majority
from trainers.metrics import layout, measure

CLASSES = ("a", "b", "c", "d", "e", "f")
COUNTS = (500, 200, 90, 50, 12, 3)


def _logits(rng, members=3, samples=400, classes=6, scale=2.0):
    return torch.tensor(rng.normal(size=(members, samples, classes)) * scale, dtype=torch.float32)


def _table(numbers, classes=CLASSES):
    """One member's numbers by (metric, target)."""
    names = [(metric, target) for split, metric, target in layout(classes) if split == "val"]
    return dict(zip(names, numbers.tolist(), strict=True))


def _looped_calibration_error(probabilities, labels):
    """ECE by its definition, bin by bin, with bins closed on the right."""
    confidence, predicted = probabilities.max(1), probabilities.argmax(1)
    error = 0.0
    for b in range(15):
        inside = [i for i, p in enumerate(confidence) if b / 15 < p <= (b + 1) / 15]
        if inside:
            accuracy = np.mean([predicted[i] == labels[i] for i in inside])
            error += len(inside) / len(labels) * abs(np.mean(confidence[inside]) - accuracy)
    return error


@pytest.fixture
def sample():
    rng = np.random.default_rng(7)
    labels = rng.choice(6, size=400, p=[0.4, 0.25, 0.15, 0.1, 0.06, 0.04])
    logits = _logits(rng)
    logits[1] += 3 * torch.nn.functional.one_hot(torch.tensor(labels), 6)  # a good member
    logits[2, :, 5] = -30.0  # a member that never predicts f
    return logits, labels


def test_class_metrics_equal_scikit_learn(sample):
    """Recall, precision, support and loss of each class, and a never predicted class."""
    logits, labels = sample
    numbers = measure(logits, torch.tensor(labels), COUNTS)
    for member in range(3):
        found = _table(numbers[member])
        scores = logits[member].double().numpy()
        expected = sk.precision_recall_fscore_support(
            labels, scores.argmax(1), labels=range(6), zero_division=0
        )
        for c, name in enumerate(CLASSES):
            own = labels == c
            precision, recall, _, support = (column[c] for column in expected)
            loss = sk.log_loss(labels[own], softmax(scores[own], axis=1), labels=range(6))
            row = [found[m, f"class:{name}"] for m in ("precision", "recall", "support", "loss")]
            assert row == pytest.approx([precision, recall, support, loss], rel=1e-5)
    assert _table(numbers[2])["precision", "class:f"] == 0.0
    assert _table(numbers[2])["recall", "class:f"] == 0.0


def test_overall_metrics_equal_scikit_learn(sample):
    """Accuracy, balanced accuracy, macro F1, worst class and loss."""
    logits, labels = sample
    numbers = measure(logits, torch.tensor(labels), COUNTS)
    for member in range(3):
        found = _table(numbers[member])
        scores = logits[member].double().numpy()
        predicted = scores.argmax(1)
        recalls = sk.recall_score(labels, predicted, average=None, zero_division=0)
        expected = {
            "accuracy": sk.accuracy_score(labels, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted),
            "macro_f1": sk.f1_score(labels, predicted, average="macro", zero_division=0),
            "worst_class_accuracy": min(recalls),
            "minority_accuracy": recalls[4:].mean(),
            "majority_accuracy": recalls[:2].mean(),
            "loss": sk.log_loss(labels, softmax(scores, axis=1)),
        }
        for metric, value in expected.items():
            assert found[metric, ""] == pytest.approx(value, rel=1e-5), metric


def test_calibration_error_equals_a_plain_loop(sample):
    """Overall, of each class, and of each group over its samples."""
    logits, labels = sample
    numbers = measure(logits, torch.tensor(labels), COUNTS)
    groups = {f"group:{g}": list(c) for g, c in class_groups(COUNTS).items()}
    targets = {"": list(range(6))} | groups
    targets |= {f"class:{name}": [c] for c, name in enumerate(CLASSES)}
    for member in range(3):
        found = _table(numbers[member])
        probabilities = softmax(logits[member].double().numpy(), axis=1)
        for target, members in targets.items():
            own = np.isin(labels, members)
            expected = _looped_calibration_error(probabilities[own], labels[own])
            assert found["calibration_error", target] == pytest.approx(expected, rel=1e-5), target


def test_certain_predictions_fall_in_the_last_bin():
    """A probability of exactly 1 is in the fifteenth bin: always right, no error."""
    logits = torch.tensor([[[200.0, 0.0], [0.0, 200.0]]])
    found = _table(measure(logits, torch.tensor([0, 1]), (9, 3))[0], ("a", "b"))
    assert found["calibration_error", ""] == 0.0


def test_group_accuracy_is_the_mean_recall_and_group_loss_that_of_samples(sample):
    """A group's accuracy weighs its classes alike, its loss its samples."""
    logits, labels = sample
    found = _table(measure(logits, torch.tensor(labels), COUNTS)[0])
    scores = logits[0].double().numpy()
    recalls = sk.recall_score(labels, scores.argmax(1), average=None, zero_division=0)
    own = np.isin(labels, [4, 5])
    loss = sk.log_loss(labels[own], softmax(scores[own], axis=1), labels=range(6))
    assert found["accuracy", "group:tail"] == pytest.approx(recalls[4:].mean(), rel=1e-5)
    assert found["accuracy", "group:head"] == pytest.approx(recalls[:2].mean(), rel=1e-5)
    assert found["accuracy", "group:medium"] == pytest.approx(recalls[2:4].mean(), rel=1e-5)
    assert found["loss", "group:tail"] == pytest.approx(loss, rel=1e-5)


def test_an_absent_class_has_no_recall_and_no_part_in_means(sample):
    """A class without samples is NaN, not 0, and means are those of the other classes."""
    logits, labels = sample
    labels = np.where(labels == 5, 0, labels)
    found = _table(measure(logits, torch.tensor(labels), COUNTS)[0])
    predicted = logits[0].numpy().argmax(1)
    present = range(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-learn: class 5 is only predicted
        balanced = sk.balanced_accuracy_score(labels, predicted)
    f1 = sk.f1_score(labels, predicted, labels=present, average="macro", zero_division=0)
    assert [found[m, "class:f"] for m in ("support", "precision")] == [0.0, 0.0]
    for metric in ("recall", "loss", "calibration_error"):
        assert np.isnan(found[metric, "class:f"])
    assert found["balanced_accuracy", ""] == pytest.approx(balanced, rel=1e-5)
    assert found["macro_f1", ""] == pytest.approx(f1, rel=1e-5)
    assert found["minority_accuracy", ""] == found["recall", "class:e"]


def test_a_group_without_classes_is_nan():
    """Where no class is small enough for the tail, the tail has no numbers."""
    rng = np.random.default_rng(1)
    numbers = measure(_logits(rng), torch.tensor(rng.integers(0, 6, 400)), [500] * 6)
    found = _table(numbers[0])
    assert all(np.isnan(found[m, "group:tail"]) for m in ("accuracy", "loss", "calibration_error"))
    assert found["accuracy", "group:head"] == pytest.approx(found["balanced_accuracy", ""])


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
def test_a_diverged_member_has_no_metrics_and_spoils_no_other(sample, poison):
    """One logit that is not finite makes all numbers of that member NaN, and only of that one."""
    logits, labels = sample
    clean = measure(logits, torch.tensor(labels), COUNTS)
    broken = logits.clone()
    broken[1, 17, 2] = poison
    numbers = measure(broken, torch.tensor(labels), COUNTS)
    assert numbers[1].isnan().all()
    assert torch.equal(numbers[[0, 2]], clean[[0, 2]])


def test_members_may_see_different_samples(sample):
    """Labels of shape (K, N) give each member's own numbers."""
    logits, labels = sample
    own = torch.tensor(np.stack([labels, labels[::-1], np.roll(labels, 5)]))
    together = measure(logits, own, COUNTS)
    for member in range(3):
        alone = measure(logits[[member]], own[member], COUNTS)
        assert torch.equal(together[[member]], alone)


def test_half_precision_logits_are_measured_in_float32(sample):
    """bfloat16 logits, as autocast makes them, give the numbers of their float32 copies."""
    logits, labels = sample
    half = logits.bfloat16()
    numbers = measure(half, torch.tensor(labels), COUNTS)
    assert numbers.dtype == torch.float32
    assert torch.equal(numbers, measure(half.float(), torch.tensor(labels), COUNTS))


def test_layout_names_every_number_once():
    """Layout and measure agree in length; split by split, classes first, overall last."""
    names = layout(CLASSES)
    assert len(set(names)) == len(names) == 3 * (5 * 6 + 5 * 3 + 8)
    assert [split for split, *_ in names[:: len(names) // 3]] == ["train", "val", "test"]
    assert names[0] == ("train", "recall", "class:a")
    assert names[-1] == ("test", list(OBJECTIVES)[-1], "")


@pytest.mark.parametrize(
    ("counts", "minority", "majority"),
    [
        ((5, 9), (0,), (1,)),
        ((9, 9, 9), (2,), (0,)),
        ((50, 10, 40, 20, 30), (1,), (0,)),
        (tuple(range(10, 0, -1)), (7, 8, 9), (0, 1, 2)),
    ],
)
def test_thirds_by_count_then_by_label(counts, minority, majority):
    """Minority and majority are thirds of the ranking, rounded down, at least one class."""
    groups = class_groups(counts)
    assert (groups["minority"], groups["majority"]) == (minority, majority)


def test_minority_and_majority_run_from_common_to_rare():
    """A mean over a group adds its classes in this order, so that its last bit is fixed."""
    assert minority_and_majority((9, 50, 7, 30, 8, 40)) == ((4, 2), (1, 5))
    assert minority_and_majority((5, 5, 5)) == ((2,), (0,))


def test_the_groups_need_no_numerics():
    """The report and the analysis import this definition, without torch and numpy."""
    code = "import sys, trainers.groups; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_shots_have_the_published_borders():
    """100 and 20 samples are both medium."""
    groups = class_groups((101, 100, 20, 19))
    assert [groups[g] for g in ("head", "medium", "tail")] == [(0,), (1, 2), (3,)]
