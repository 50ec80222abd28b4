"""A Ray actor that trains packs beside the data, with the trainer.

Imports neither torch nor the trainer at its top, because threads must be set in the environment
first.
"""

from __future__ import annotations

import gc
import os
import platform
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NamedTuple

from sweeper import trainables
from sweeper.engine import data_facts, endings, kept_timings, nodes, plugins, timing
from sweeper.engine.functions import FunctionTrainer
from sweeper.engine.messages import (
    Answer,
    BadConfig,
    Job,
    MemberResult,
    Message,
    OwnTrainer,
    PackProgress,
    ProbeJob,
    Refusal,
    Timing,
)
from sweeper.engine.timing import Suited
from sweeper.errors import EngineError, InputError
from sweeper.states import Ending
from trainers.catalogue import trainer_of
from trainers.config import Config, ConfigError
from trainers.data_config import DataConfig

# A plug-in file may set another trainer here (same methods as trainers.loop.PackTrainer).
TRAINER: Callable[..., Any] | None = None

BEATS = "beats"  # the thread that answers beats while another trains
DATASETS_KEPT = 4
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_datasets: OrderedDict[str, Any] = OrderedDict()
_marks: dict[tuple[str, ...], str] = {}  # by the files of training functions
_guards: dict[int, Any] = {}  # by threads; their processes serve one pack key after another


def dataset(config: DataConfig, fingerprints: Mapping[str, str]) -> Any:
    """The data set, kept in this process for the next packs.

    Args:
        fingerprints: of the contents that the driver has read, by load key.

    Raises:
        ConfigError: it cannot be read or used.
    """
    from trainers.data import load

    key = data_facts.load_key(config)
    if key not in _datasets:
        while len(_datasets) >= DATASETS_KEPT:
            _datasets.popitem(last=False)
        _datasets[key] = load(config, fingerprint=fingerprints.get(key))
    _datasets.move_to_end(key)
    return _datasets[key]


def _mark(files: Sequence[str]) -> str:
    """The fingerprint of a training function's files, read once in this process."""
    key = tuple(files)
    if key not in _marks:
        _marks[key] = trainables.fingerprint(key)[0]
    return _marks[key]


def trainer_class(model: str) -> Callable[..., Any]:
    """The trainer of packs: a plug-in's, or the model's own."""
    return TRAINER if TRAINER is not None else trainer_of(model)


def pin_threads(count: int) -> None:
    """Makes numeric libraries use `count` threads; complete only before their import."""
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(count)
    # Busy-waiting threads take processor time from the threads that they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


class PackMember(NamedTuple):
    """A run for the trainer; the fields of trainers.loop.Member, without importing torch."""

    config: Config
    replicate: int


def time_packs(job: ProbeJob) -> Answer:
    """The cost of packs of its key here, in the first form that is correct here.

    None if it cannot be measured: the runs will report the error.
    """
    config = Config.model_validate(job.config)
    try:
        dataset(config.data, job.fingerprints)
    except Exception:  # noqa: BLE001  this node is at fault; the driver has read them
        return None
    try:
        suited = suit(config, job)
        if isinstance(suited, Refusal):
            return suited
        pin_threads(suited.threads)

        def build(k: int, form: str) -> Any:
            members = [PackMember(config, replicate) for replicate in range(k)]
            data = dataset(config.data, job.fingerprints)
            made = trainer_class(config.train.model)
            return made(data, members, device=job.device, form=form)

        def measure() -> Timing:
            found = timing.fastest(
                timing.measure(job, partial(build, form=form), suited=replace(suited, form=form))
                for form in forms_to_time(config, job, suited, build)
            )
            if job.device == "cpu":
                return found
            from trainers.gpu import memory

            measured = memory(found.seconds_per_step, partial(build, form=found.form))
            return replace(found, **measured._asdict())

        if TRAINER is not None:  # which may be another one tomorrow
            return measure()
        return kept_timings.kept(job, measure, **_conditions(config, job, suited))
    except ConfigError as error:
        return BadConfig(text=str(error))
    except Exception:  # noqa: BLE001  the trainer and the user's code are foreign
        return None
    finally:
        gc.collect()


def _conditions(config: Config, job: ProbeJob, suited: Suited) -> dict[str, Any]:
    """What decides how long its packs take here, beside the job and the node."""
    from torch import cuda

    device = cuda.get_device_name() if job.device == "cuda" else ""
    data = dataset(config.data, job.fingerprints).fingerprint
    return {"data": data, "gpu": device, "suited": asdict(suited)}


def forms_to_time(
    config: Config, job: ProbeJob, suited: Suited, build: Callable[[int, str], Any]
) -> list[str]:
    """The forms of which the fastest is taken: on a GPU all that are right, else the suited one."""
    from trainers.gpu import right_forms
    from trainers.loop import PackTrainer

    if job.device == "cpu" or trainer_class(config.train.model) is not PackTrainer:
        return [suited.form]
    return right_forms(partial(build, min(job.ks)))


def suit(config: Config, job: ProbeJob) -> Suited | Refusal:
    """Form and threads for packs of this configuration; a refusal if no form is correct.

    GPUs and a plug-in's trainer are not checked.
    """
    from trainers.arithmetic import WrongArithmetic
    from trainers.forms import DEFAULT, FORMS
    from trainers.threads import threads_for

    if job.device != "cpu":
        return Suited(form=DEFAULT, threads=job.threads)
    if TRAINER is not None:
        return Suited(form=next(iter(FORMS)), threads=job.threads)
    threads, data = job.threads, dataset(config.data, job.fingerprints)
    if job.auto_threads:
        threads = threads_for(layers_of(config, data, max(job.ks)), most=job.threads)
    layers = [layer for k in job.ks for layer in layers_of(config, data, k)]
    try:
        choice = guard(threads, job.plugins).choose(layers)
    except WrongArithmetic as error:
        return Refusal(text=str(error))
    return Suited(form=choice.form, threads=threads, findings=choice.lines)


def refusal(config: Config, job: Job) -> Refusal | None:
    """Why this node would compute the pack wrongly in its form; None if it would not."""
    if TRAINER is not None or job.device != "cpu":
        return None
    from trainers.arithmetic import WrongArithmetic

    layers = layers_of(config, dataset(config.data, job.fingerprints), len(job.members))
    checking = guard(job.threads, job.plugins)
    here = checking.has(job.form)
    try:
        choice = checking.choose(layers, first=job.form if here else None)
    except WrongArithmetic as error:
        return Refusal(text=f"{platform.node()}: {error}")
    if choice.form == job.form:
        return None
    if not here:
        text = f"{platform.node()} has no form '{job.form}'; form '{choice.form}' is used instead"
        return Refusal(text=text, form=choice.form)
    return Refusal(text=f"{platform.node()}: {choice.lines[0]}", form=choice.form)


def layers_of(config: Config, data: Any, members: int) -> list[Any]:
    """The layer calls of a training step of this number of members."""
    from trainers.shapes import calls

    return calls(
        config.train,
        inputs=data.inputs,
        classes=len(data.classes),
        samples=sum(data_facts.class_counts(config, data.facts)),
        members=members,
    )


def guard(threads: int, plugin_files: Sequence[str]) -> Any:
    """This process's guard for a number of threads, kept with its results."""
    from trainers.arithmetic import Guard

    if threads not in _guards:
        _guards[threads] = Guard(threads=threads, plugins=plugin_files)
    return _guards[threads]


class Unfit(EngineError):
    """This node cannot do the work; that does not count against the runs."""


class PackWorker:
    """Times packs, or trains one, a round a call; it stays for the next job."""

    def __init__(self) -> None:
        self._trainer: Any = None
        self._probe: ProbeJob | None = None

    def hello(self) -> dict[str, str]:
        """The facts of this node that must be equal on every node."""
        return nodes.facts()

    def beat(self) -> None:
        """Answers a sign of life, in a separate thread of Ray."""

    def take(self, job: Job | ProbeJob) -> tuple[Message | Answer, bool]:
        """Begins a job; returns the message of its first round, and whether the job is done."""
        self._trainer = None
        self._probe = job if isinstance(job, ProbeJob) else None
        pin_threads(job.threads)
        if isinstance(job, Job):
            self._begin(job)
        try:
            plugins.load(job.plugins)
        except InputError as error:
            if self._probe is not None:
                return None, True
            return self._say((), done=True, unfit=str(error)), True
        return self.step()

    def _begin(self, job: Job) -> None:
        self._job = job
        self._index = {member.run: index for index, member in enumerate(job.members)}
        self._emptied, self._note, self._refusal = False, "", None
        self._from_epoch, self._seconds, self._saved_at = 0, 0.0, time.monotonic()

    def step(self) -> tuple[Message | Answer, bool]:
        """Runs the next round; returns the same as `take`."""
        if self._probe is not None:
            return time_packs(self._probe), True
        try:
            message = self._round()
        except Unfit as error:
            message = self._say((), done=True, unfit=str(error))
        except Exception as error:  # noqa: BLE001  the trainer and the user's code are foreign
            message = self._say((), done=True, failure=endings.of_exception(error))
        if message.done:
            self._leave()
        if message.done and self._job.device != "cpu" and self._job.own is None:
            from trainers.gpu import release

            release()  # for the workers that share it
        elif message.failure is not None:
            gc.collect()  # free the memory for the next job
        return message, message.done

    def _leave(self) -> None:
        """Lets the trainer go, and ends the functions that wait in it."""
        trainer, self._trainer = self._trainer, None
        if isinstance(trainer, FunctionTrainer):
            trainer.close()

    def drop(self, runs: Sequence[int]) -> None:
        """Leaves these members out from the next round on; Ray runs this between two rounds."""
        if self._trainer is not None:
            self._drop({self._index[run] for run in runs})

    def save_now(self) -> int:
        """Writes a checkpoint before the driver stops; returns its round, or 0."""
        if self._trainer is None or self._emptied:
            return 0
        return int(self._trainer.round) if self._save() else 0

    def _round(self) -> Message:
        began = time.perf_counter()
        if self._trainer is None:
            self._trainer = self._build()
        if self._refusal is not None:
            return self._say((), done=True)
        trainer = self._trainer
        if trainer.round >= trainer.timetable.rounds or self._emptied:
            return self._say((), done=True)
        results = trainer.train_round()
        last = trainer.round >= trainer.timetable.rounds
        if not last:
            self._drop({result.member for result in results if not result.finite} | self._due())
        self._seconds += time.perf_counter() - began
        done = last or self._emptied
        if not done and time.monotonic() - self._saved_at >= self._job.checkpoint_seconds:
            self._save()
        return self._say(self._members(results, last=last), done=done)

    def _due(self) -> set[int]:
        """Members that had finished by this round in an earlier launch."""
        reached = self._trainer.timetable.epoch(self._trainer.round)
        return {self._index[run] for run, epoch in self._job.drops.items() if epoch <= reached}

    def _open(self) -> set[int]:
        """Members that have not finished in an earlier launch."""
        return {index for run, index in self._index.items() if run not in self._job.drops}

    def _drop(self, members: set[int]) -> None:
        """Drops members; the trainer itself always keeps one."""
        alive = set(self._trainer.alive)
        self._emptied = self._emptied or alive <= members
        if not self._emptied:
            for member in sorted(alive & members):
                self._trainer.drop(member)

    def _members(self, results: Sequence[Any], *, last: bool) -> tuple[MemberResult, ...]:
        found = []
        for result in results:
            member = self._job.members[result.member]
            if member.run in self._job.drops:
                continue
            end = Ending.DIVERGED if not result.finite else Ending.COMPLETE if last else None
            found.append(
                MemberResult(
                    run=member.run,
                    attempt=member.attempt,
                    numbers=None
                    if result.numbers is None
                    else result.numbers.astype("<f4").tobytes(),
                    end=end,
                    error="a loss or an output is not finite" if not result.finite else "",
                    correct=getattr(result, "correct", None),  # a plug-in's trainer may lack it
                )
            )
        return tuple(found)

    def _say(
        self,
        members: tuple[MemberResult, ...],
        *,
        done: bool,
        failure: tuple[Ending, str] | None = None,
        unfit: str = "",
    ) -> Message:
        return Message(
            pack=self._job.pack,
            job=self._job.number,
            reached=self._reached(),
            seconds=self._seconds,
            node=platform.node(),
            device=self._job.device,
            from_epoch=self._from_epoch,
            members=members,
            done=done,
            failure=failure,
            unfit=unfit,
            note=self._note,
            refusal=self._refusal,
        )

    def _reached(self) -> PackProgress:
        trainer = self._trainer
        if trainer is None:
            return PackProgress()
        round, timetable = int(trainer.round), trainer.timetable
        return PackProgress(
            round=round,
            rounds=timetable.rounds,
            step=int(trainer.step),
            epoch=timetable.epoch(round),
            evaluation=timetable.evaluation(round),
        )

    def _own(self, own: OwnTrainer) -> Any:
        """The trainer that calls the user's function.

        Raises:
            Unfit: the function or its files are not here as the driver has them.
        """
        function = own.function
        try:
            function = function or trainables.named(own.name)
            mark = _mark(own.files)
        except InputError as error:
            raise Unfit(str(error)) from error
        if mark != own.fingerprint:
            raise Unfit(f"the files of trainer {own.name!r} are not what the driver read")
        members = [(member.config["train"], member.replicate) for member in self._job.members]
        return FunctionTrainer(function, members, own=own)

    def _build(self) -> Any:
        """The trainer, from a checkpoint if one fits; None if it would compute wrongly.

        Raises:
            ConfigError: the configuration does not fit the data.
            Unfit: the data here are not those that the driver has read.
        """
        job = self._job
        if job.own is not None:
            return self._begun(self._own(job.own))
        configs = [Config.model_validate(member.config) for member in job.members]
        try:
            data = dataset(configs[0].data, job.fingerprints)
        except ConfigError as error:  # the driver has read them, so this node is at fault
            raise Unfit(f"the data cannot be read: {error}") from error
        expected = job.fingerprints[data_facts.load_key(configs[0].data)]
        if data.fingerprint != expected:
            raise Unfit(f"its data ({data.fingerprint}) are not what the driver read ({expected})")
        self._refusal = refusal(configs[0], job)
        if self._refusal is not None:
            return None
        members = [
            PackMember(config, member.replicate)
            for config, member in zip(configs, job.members, strict=True)
        ]
        made = trainer_class(configs[0].train.model)
        return self._begun(made(data, members, device=job.device, form=job.form))

    def _begun(self, trainer: Any) -> Any:
        """The trainer at its checkpoint, without the members that have left."""
        self._trainer = trainer
        self._resume(trainer)
        self._drop(self._due())
        return trainer

    def _resume(self, trainer: Any) -> None:
        from trainers import checkpoint

        job = self._job
        most = trainer.timetable.before_next(job.recorded)
        try:
            found = checkpoint.latest(job.checkpoint_dir, at_most=most)
        except OSError as error:
            self._note = f"no checkpoint can be read on {platform.node()}: {error}; it starts again"
            return
        if found is None or found[2].get("job") != job.identity:
            return
        round_reached, tensors, meta = found
        alive, epoch = set(meta["trainer"]["alive"]), trainer.timetable.epoch(int(round_reached))
        gone = {self._index[run] for run, left in job.drops.items() if left < epoch}
        if not self._open() <= alive or alive & gone:
            return  # a run that is tried again had left before it, or a member took part too long
        trainer.load_state(tensors, meta["trainer"])
        self._from_epoch = int(round_reached)

    def _save(self) -> bool:
        """Writes a checkpoint; returns whether it was written, and training continues anyway."""
        from trainers import checkpoint

        self._saved_at = time.monotonic()
        found = self._trainer.state()
        if found is None:
            return False  # a function that keeps nothing
        tensors, meta = found
        try:
            checkpoint.save(
                self._job.checkpoint_dir,
                int(self._trainer.round),
                tensors,
                {"job": self._job.identity, "trainer": meta},
            )
        except OSError as error:
            self._note = f"no checkpoint can be written on {platform.node()}: {error}"
            return False
        return True
