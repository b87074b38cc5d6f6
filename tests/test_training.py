"""Training: pure in (seed, epoch), resumable bit by bit, and honest about what it cannot do."""

import copy
import itertools
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import evalib
from evalib import experiments
from evalib.ablations import PACKAGED
from evalib.experiments import ADAM
from evalib.networks import EVASummary
from evalib.training import checkpoint, cifar, data, environment, step, train

pytestmark = pytest.mark.usefixtures("float32", "few", "tiny")


def settings(**changes):
    return evalib.Settings(**{"experiment": "tiny", "epochs": 3, "batch_size": 25} | changes)


def state(run):
    return run.network.state_dict()


def assert_equal(one, other):
    for name, tensor in state(one).items():
        assert torch.equal(tensor, state(other)[name]), name


def without_seconds(curve):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in curve]


def stopped(after, *given, **options):
    """A run whose steps end after so many."""
    running = train.steps(*given, **options)
    for _ in range(after):
        next(running)
    running.close()


class Dropping(nn.Module):
    """A network that draws as it trains."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, 4), nn.Flatten(), nn.Dropout(), nn.Linear(256, 10)
        )

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize(("kind", "after"), [(None, 1), (None, 7), (Dropping, 4)])
def test_a_stopped_run_ends_bitwise_as_the_run_never_stopped(tmp_path, kind, after):
    torch.manual_seed(7)
    networks = [kind and kind() for _ in range(2)]
    if kind:
        networks[1].load_state_dict(networks[0].state_dict())
    begun = [network and copy.deepcopy(network) for network in networks]
    whole = evalib.train(settings(), device="cpu", network=networks[0])
    stopped(after, settings(), tmp_path, device="cpu", network=begun[0])
    assert len(checkpoint.found(tmp_path)) == min(after // 4, checkpoint.KEPT)
    torch.manual_seed(99)
    resumed = evalib.train(settings(), tmp_path, device="cpu", network=begun[1])
    assert_equal(whole, resumed)
    assert torch.equal(whole.test_scores, resumed.test_scores)
    assert without_seconds(whole.curve) == without_seconds(resumed.curve)
    assert resumed.seconds == sum(row["seconds"] for row in resumed.curve)
    assert len(checkpoint.found(tmp_path)) == checkpoint.KEPT


def test_a_run_does_not_go_on_in_another_precision(tmp_path, monkeypatch):
    """As where it was begun on a GPU in bf16, and no precision was asked for."""
    stopped(4, settings(), tmp_path, device="cpu")
    before = [path.read_bytes() for path in checkpoint.found(tmp_path)]
    monkeypatch.setattr(train, "precision_of", lambda asked, device: "bf16")
    with pytest.raises(ValueError, match="begun in float32 and would go on here in bf16"):
        evalib.train(settings(), tmp_path, device="cpu")
    assert before == [path.read_bytes() for path in checkpoint.found(tmp_path)]


def test_runs_advanced_in_turn_are_bitwise_what_each_is_alone(few):
    """Of several networks and seeds, one of which draws as it trains, and other programs draw
    between the turns.
    """
    torch.manual_seed(7)
    given = [
        (settings(), None),
        (settings(experiment="evanet20-small", epochs=1), None),
        (settings(batch_size=9), Dropping()),
        (settings(batch_size=9, seed=1), Dropping()),
    ]
    alone = [
        evalib.train(each, device="cpu", network=copy.deepcopy(network)) for each, network in given
    ]
    waiting = {
        which: train.steps(each, device="cpu", network=network)
        for which, (each, network) in enumerate(given)
    }
    together = {}
    while waiting:
        for which, running in list(waiting.items()):
            torch.rand(3)
            try:
                next(running)
            except StopIteration as end:
                together[which] = end.value
                del waiting[which]
    for which, run in enumerate(alone):
        assert_equal(run, together[which])
        assert without_seconds(run.curve) == without_seconds(together[which].curve)


def test_each_epoch_takes_its_own_plan_and_its_figures_are_of_what_it_trained_on(monkeypatch):
    taken = []

    def training_step(network, optimiser, padded, labels, *rest):
        def step(plan):
            taken.append(plan)
            return torch.tensor(float(len(taken))), torch.tensor(len(plan.order))  # all right

        return step

    monkeypatch.setattr(train, "training_step", training_step)
    run = evalib.train(settings(seed=3), device="cpu")
    for epoch, row in enumerate(run.curve):
        parts = [torch.cat(part) for part in zip(*taken[3 * epoch : 3 * epoch + 3], strict=True)]
        assert all(map(torch.equal, parts, data.epoch_plan(54, 3, epoch)))
        assert (row["train_accuracy"], row["train_loss"]) == (100.0, 3 * epoch + 2)


def test_an_epochs_seconds_are_its_own_without_those_of_who_watches(monkeypatch, capsys):
    clock = itertools.count()
    monkeypatch.setattr(train, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    run = evalib.train(
        settings(), device="cpu", observe=lambda row: [next(clock) for _ in range(100)]
    )
    assert [row["seconds"] for row in run.curve] == [1.0] * 3 and run.seconds == 3.0
    for row, line in zip(run.curve, capsys.readouterr().out.splitlines(), strict=True):
        figures = f"loss {row['train_loss']:.3f}, validation {row['validation_accuracy']:.2f}%"
        assert line == f"tiny seed 0 epoch {row['epoch']}/3: {figures}, images/s 54"


class Frozen(nn.Module):
    """A body of a batch norm that does not learn, and a head that does."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3, 4), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten()
        )
        self.norm, self.drop, self.head = nn.BatchNorm1d(256), nn.Dropout(), nn.Linear(256, 10)
        self.body.requires_grad_(False)

    def forward(self, x):
        return self.head(self.drop(self.norm(self.body(x))))


def test_what_is_frozen_stays_and_the_rest_learns():
    network, modes = Frozen(), set()
    before = copy.deepcopy(network.state_dict())
    network.drop.register_forward_hook(
        lambda drop, *_: modes.add((network.body.training, drop.training))
    )
    evalib.train(settings(epochs=1), device="cpu", network=network)
    assert (False, True) in modes and (True, True) not in modes
    moved = {
        name.partition(".")[0]
        for name, tensor in network.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert moved == {"norm", "head"}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_network_keeps_the_layout_of_its_weights(layout):
    network = evalib.build("tiny").to(memory_format=layout)
    evalib.train(settings(epochs=1), device="cpu", network=network)
    assert all(
        each.is_contiguous(memory_format=layout) for each in network.parameters() if each.ndim == 4
    )


def test_a_network_that_views_its_images_flat_is_trained():
    network = nn.Linear(3072, 10)
    network.register_forward_pre_hook(lambda _, given: (given[0].view(len(given[0]), -1),))
    run = evalib.train(settings(epochs=1), device="cpu", network=network)
    assert run.test_scores.shape == (20, 10)


# What a run is of


def wrapped(network):
    return nn.DataParallel(network)


def as_written(network):
    network.stages[0].mix1.fast = False
    return network


def as_it_is(network):
    return network


@pytest.mark.parametrize(
    ("begun", "ended"), [(as_it_is, wrapped), (wrapped, as_it_is), (as_it_is, as_written)]
)
def test_a_network_goes_on_in_a_wrapper_and_out_of_it(tmp_path, begun, ended):
    torch.manual_seed(3)
    network = evalib.build("tiny")
    first, second, alone = (copy.deepcopy(network) for _ in range(3))
    second.image_size = (32, 32)  # as after a run
    whole = evalib.train(settings(), device="cpu", network=alone)
    stopped(4, settings(), tmp_path, device="cpu", network=begun(first))
    resumed = evalib.train(settings(), tmp_path, device="cpu", network=ended(second))
    assert len(resumed.sittings) == 2 and torch.equal(whole.test_scores, resumed.test_scores)


def test_the_network_inside_a_wrapper_is_found():
    network, others = evalib.build("tiny"), nn.parallel.DistributedDataParallel
    parallel = others.__new__(others)  # without other processes
    nn.Module.__init__(parallel)
    parallel.module = network
    for each in (network, wrapped(network), parallel):
        assert checkpoint.plain(torch.compile(each)) is checkpoint.plain(each) is network


def test_a_run_that_goes_on_from_other_weights_than_the_given_says_so(tmp_path):
    stopped(4, settings(), tmp_path, device="cpu", network=evalib.build("tiny"))
    with pytest.warns(UserWarning, match="replaced by those of the run; to train from those given"):
        run = evalib.train(settings(), tmp_path, device="cpu", network=evalib.build("tiny"))
    assert len(run.curve) == 3
    given = evalib.build("tiny")
    before = copy.deepcopy(given.state_dict())
    with pytest.raises(ValueError, match="is whole: choose another output directory"):
        evalib.train(settings(), tmp_path, device="cpu", network=given)
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())


def other_module(network):
    network.stem[2] = nn.GELU()


def other_option(network):
    network.stages[0].mix1.scale = 0.5


def other_function(network):
    network.stages[0].shortcut.forward = torch.relu


def frozen(network):
    network.stages.requires_grad_(False)


@pytest.mark.parametrize("change", [other_module, other_option, other_function, frozen])
def test_a_run_is_not_gone_on_with_by_another_network_of_the_same_weights(tmp_path, change):
    network = evalib.build("tiny")
    network.stages[0].mix1 = evalib.RelativeSelfAttention(4, 4, 3, 2)
    other = copy.deepcopy(network)
    stopped(4, settings(), tmp_path, device="cpu", network=network)
    change(other)
    assert " at 0x" not in train.describe(other)
    with pytest.raises(ValueError, match="a run of another network: give the same"):
        evalib.train(settings(), tmp_path, device="cpu", network=other)


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": ADAM._replace(optimiser="SGD")},
        {"recipe": ADAM._replace(weight_decay=0.1)},
        {"head": partial(EVASummary, num_heads=1)},
        {"widths": (6,)},
    ],
)
def test_a_row_that_was_edited_is_not_gone_on_with(tiny, tmp_path, monkeypatch, change):
    stopped(4, settings(), tmp_path, device="cpu")
    monkeypatch.setitem(experiments.ROWS, "tiny", replace(tiny, **change))
    with pytest.raises(ValueError, match="of the row as it was defined before: give the same"):
        evalib.train(settings(), tmp_path, device="cpu")
    assert len(checkpoint.found(tmp_path)) == 1


def test_a_run_of_a_row_whose_module_changed_is_not_gone_on_with(few, tmp_path, monkeypatch):
    module = tmp_path / "rows.py"
    module.write_text("one")
    monkeypatch.setenv("EVALIB_MODULE", str(module))
    stopped(4, settings(), tmp_path, device="cpu")
    module.write_text("another")
    with pytest.raises(ValueError, match="before the file that registers it changed"):
        evalib.train(settings(), tmp_path, device="cpu")
    for row in PACKAGED:
        assert train.origin(evalib.Settings(row.name))["module"] is None


def test_training_leaves_the_random_state_as_it_was():
    before = torch.get_rng_state()
    evalib.train(settings(epochs=1), device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


class Drawn(nn.Linear):
    """A network that keeps what it draws in training."""

    def __init__(self, drawn):
        super().__init__(3072, 10)
        self.drawn = drawn

    def forward(self, x):
        if self.training:
            self.drawn.append(torch.rand(()).item())
        return super().forward(x.flatten(1))


def test_every_step_of_every_epoch_and_seed_draws_its_own():
    drawn = []
    for seed in (0, 1):
        evalib.train(settings(epochs=2, seed=seed), device="cpu", network=Drawn(drawn))
    assert len(set(drawn)) == len(drawn) == 2 * 2 * 3


def test_the_seed_decides_the_run():
    one, same = (evalib.train(settings(epochs=1), device="cpu") for _ in range(2))
    other = evalib.train(settings(epochs=1, seed=1), device="cpu")
    assert_equal(one, same)
    assert one.curve[0]["train_loss"] != other.curve[0]["train_loss"]


def test_whole_batches_alone_are_computed_by_the_compiled_network(monkeypatch):
    """Neither an epoch's last batch, which is smaller, nor an evaluation, which would compile it
    anew.
    """
    seen = []

    def compiled(part, dynamic):
        network = getattr(part, "__self__", part)  # the body is a method of the network
        return lambda x: seen.append((len(x), network.training, dynamic)) or part(x)

    monkeypatch.setattr(torch, "compile", compiled)
    batch = 7
    plain, run = (
        evalib.train(settings(batch_size=batch), device="cpu", compile=each)
        for each in (False, True)
    )
    whole, left = divmod(len(data.split(len(run.cifar.train_labels))[0]), batch)
    assert left
    assert seen == [(batch, True, False)] * 2 * whole * run.settings.epochs  # body and head
    assert_equal(plain, run)
    assert (plain.sittings[-1]["compiled"], run.sittings[-1]["compiled"]) == (False, True)
    assert plain.sittings[-1]["precision"] == "float32"


def test_the_loss_falls_on_real_images():
    given = {"experiment": "resnet20-small", "epochs": 20}
    curve = evalib.train(settings(**given), device="cpu").curve
    assert max(row["train_loss"] for row in curve[-4:]) < 0.8 * curve[0]["train_loss"]


def test_the_test_images_decide_nothing(few, monkeypatch):
    one = evalib.train(settings(epochs=1), device="cpu")
    changed = few._replace(test_images=255 - few.test_images)
    monkeypatch.setattr(cifar, "load_data", {"subset": changed}.get)
    other = evalib.train(settings(epochs=1), device="cpu")
    assert_equal(one, other)
    assert not torch.equal(one.test_scores, other.test_scores)


@pytest.mark.parametrize(
    "harm", [lambda b: b[: len(b) // 2], lambda b: b[:-100] + bytes([b[-100] ^ 1]) + b[-99:]]
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, harm):
    whole = evalib.train(settings(), tmp_path, device="cpu")
    newest = checkpoint.found(tmp_path)[0]
    newest.write_bytes(harm(newest.read_bytes()))
    with pytest.warns(UserWarning, match=newest.name):
        again = evalib.train(settings(), tmp_path, device="cpu")
    assert_equal(whole, again)
    assert [checkpoint.epochs_of(path) for path in checkpoint.found(tmp_path)] == [3, 2]


def test_other_settings_than_the_checkpoints_are_refused_by_name(tmp_path):
    evalib.train(settings(), tmp_path, device="cpu")
    with pytest.raises(ValueError, match=r"learning_rate was 0\.001, is now 0\.01"):
        evalib.train(settings(learning_rate=0.01), tmp_path, device="cpu")


@pytest.mark.parametrize("which", ["train", "validation"])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, monkeypatch, which):
    def loss(scores, labels):
        return scores.sum() * (torch.nan if scores.requires_grad == (which == "train") else 0)

    monkeypatch.setattr(F, "cross_entropy", loss)
    with pytest.raises(
        FloatingPointError, match=f"the {which} loss is nan in epoch 1, learning rate 0.001"
    ):
        evalib.train(settings(), tmp_path, device="cpu")
    assert not checkpoint.found(tmp_path)


def test_whole_numbers_of_numpy_are_whole_numbers():
    given = settings(seed=np.uint8(3), epochs=np.uint8(2), batch_size=np.uint8(25))
    assert given == settings(seed=3, epochs=2) and type(given.seed) is int


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"experiment": "resnet18"}, "'resnet18'"),
        ({"tier": "huge"}, "'huge'.*smoke, quick, paper"),
        ({"epochs": 0}, "epochs=0: Input should be greater"),
        ({"epochs": 1.5}, "epochs=1.5"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**64}, f"seed={2**64}"),
        ({"seed": True}, "seed=True"),
        ({"batch_size": 1}, "batch_size=1"),
        ({"learning_rate": "1e-3"}, "learning_rate='1e-3'"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"precision": "fp8"}, "precision='fp8': Input should be 'bf16' or 'float32'"),
        ({"milestones": (75, 112)}, r"milestones=\(75, 112\)"),
        ({"milestones": (0.0, 0.5)}, r"milestones=\(0.0, 0.5\)"),
        ({"milestones": 0.5}, "milestones=0.5"),
    ],
)
def test_bad_settings_are_named(changes, named):
    with pytest.raises(ValueError, match=named):
        settings(**changes)


def test_a_device_that_is_not_there_is_named():
    for name in ("cuda:99", "tpu", "nonsense"):
        with pytest.raises(ValueError, match=f"no device '{name}' here"):
            train.choose_device(name)


@pytest.mark.parametrize(
    ("cuda", "mps", "first"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_first_device_there_is_is_taken(monkeypatch, cuda, mps, first):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert train.choose_device() == torch.device(first)


@pytest.mark.parametrize(
    ("tier", "device", "able", "compiles", "precision"),
    [
        ("quick", "cuda", True, True, "bf16"),
        ("smoke", "cuda", True, False, "bf16"),
        ("quick", "cuda", False, False, "float32"),
        ("quick", "cpu", True, False, "float32"),
    ],
)
def test_what_a_gpu_is_able_to_is_taken_unless_something_else_is_asked(
    monkeypatch, tier, device, able, compiles, precision
):
    device = torch.device(device)
    monkeypatch.setattr(step, "has_triton", lambda: able)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: able)
    for asked, done in ((None, compiles), (True, True), (False, False)):
        assert step.compiles(asked, tier, device) == done
    for asked, done in ((None, precision), ("bf16", "bf16"), ("float32", "float32")):
        assert step.precision_of(asked, device) == done


@pytest.mark.parametrize(("threads", "said"), [(1, ", 1 thread"), (2, ", 2 threads")])
def test_the_name_of_a_cpu_has_its_threads(monkeypatch, threads, said):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    name = environment.device_name(torch.device("cpu"))
    assert name == environment.processor() + said and name.startswith("CPU ")


def test_checkpoints_of_another_computation_are_refused(tmp_path, monkeypatch):
    evalib.train(settings(), tmp_path, device="cpu")
    before = train.COMPUTATION
    monkeypatch.setattr(train, "COMPUTATION", before + 1)
    with pytest.raises(
        ValueError, match=f"checkpoints of computation {before}, and this evalib has {before + 1}"
    ):
        evalib.train(settings(), tmp_path, device="cpu")
