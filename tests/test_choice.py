"""The rule of the choice, and the sentences that records write."""

import copy
import json
import runpy
import shutil
from pathlib import Path

import pytest
import torch
from made import fell, made

from evalib import TABLE_1
from evalib.experiments import CHOSEN, build, experiment
from evalib.pages import figures
from evalib.results import choice, records, tables
from evalib.results.statistics import Noise
from evalib.training.checkpoint import write_tensors
from evalib.training.settings import Settings
from evalib.training.step import adam

ROOT = Path(__file__).resolve().parent.parent
MECHANISM = runpy.run_path(str(ROOT / "scripts" / "mechanism.py"))


def candidate(name, *validations, widths=True, large=True):
    return choice.Candidate(name, choice.ADDED[name], validations, 0, widths, large)


NOISE = Noise(0.3 * 3**0.5, 6)
"""One standard error of three seeds is 0.3 points."""


def test_the_highest_mean_is_taken():
    found = [candidate("scaled", 88.0, 88.1, 88.2), candidate("normed", 89.0, 89.1, 89.2)]
    assert choice.choose(found, NOISE) == "normed"


def test_within_one_pooled_standard_error_the_one_that_adds_least_is_taken():
    """Whatever the candidates' own seeds spread."""
    best = candidate("published", 89.0, 89.0, 89.0)
    assert choice.choose([candidate("scaled", 88.71, 88.71, 88.71), best], NOISE) == "scaled"
    assert choice.choose([candidate("scaled", 88.69, 88.69, 88.69), best], NOISE) == "published"
    wide = candidate("published", 87.0, 89.0, 91.0)
    assert choice.choose([candidate("scaled", 88.0, 88.0, 88.0), wide], NOISE) == "published"


@pytest.mark.parametrize(
    "harm", [{"widths": False}, {"widths": None}, {"large": False}, {"large": None}]
)
def test_what_is_not_eligible_or_has_not_all_seeds_is_not_judged(harm):
    one, other = candidate("scaled", 88.0, 88.0, 88.0), candidate("normed", 88.5, 88.5, 88.5)
    assert (
        choice.choose([one, other, candidate("published", 99.0, 99.0, 99.0, **harm)], NOISE)
        == "normed"
    )
    assert choice.choose([one, other, candidate("published", 99.0, 99.0)], NOISE) == "normed"


def test_while_fewer_than_two_are_judged_scaled_stays():
    alone = candidate("published", 99.0, 99.0, 99.0)
    assert choice.choose([candidate("scaled", 88.0, 88.0), alone], NOISE) == "scaled"
    assert choice.choose([alone], NOISE) == "scaled"
    assert "1 of 3 seeds" in candidate("scaled", 88.0, 88.0).missing and not alone.missing
    assert not candidate("scaled", 88.0, widths=False).missing  # it cannot be chosen


def width_rows(**changes):
    rows = []
    for width in choice.WIDTHS:
        for step in (1, 150):
            row = {
                "candidate": "scaled",
                "width": width,
                "step": step,
                "largest_logit": 10.0,
                "effective": [8.0, 16.0, 24.0],
            }
            rows.append(row | (changes if (width, step) == (512, 150) else {}))
    return rows


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({}, True), ({"largest_logit": 30.0}, True), ({"largest_logit": 30.1}, False),
        ({"effective": [1.0, 1.0, 6.0]}, True), ({"effective": [8.0, 16.0, 5.9]}, False), ({"width": 1024}, None),
    ],
)  # fmt: skip
def test_the_width_check_is_by_the_last_step_at_each_width(tmp_path, changes, passes):
    assert choice.passes_widths("scaled", tmp_path) is None
    (tmp_path / "width.json").write_text(json.dumps({"rows": width_rows(**changes)}))
    assert choice.passes_widths("scaled", tmp_path) is passes
    assert choice.passes_widths("normed", tmp_path) is None


def test_a_large_run_that_falls_to_half_of_its_best_does_not_train():
    def curve(*values):
        return [{"validation_accuracy": value} for value in values]

    assert not choice.falls(curve(30.0, 60.0, 31.0, 70.0)) and choice.falls(
        curve(30.0, 60.0, 30.0, 70.0)
    )


SCALED, NORMED, LARGE = "evanet20-small-scaled", "evanet20-small-normed", "evanet20-large-normed"
"""*Normed* is ahead in validation, over the three seeds of the full runs; in all else it is not."""


@pytest.mark.parametrize(
    ("harm", "chosen"),
    [
        ([], "normed"),
        ([(NORMED, 0, "paper", {"validation": 10.0})], "scaled"),
        ([(NORMED, seed, "paper", {"schema": 2}) for seed in (0, 1, 2)], "scaled"),
        ([(LARGE, 0, "quick", {"curve": fell(15)})], "scaled"),
        ([(LARGE, 0, "quick", {"schema": 2})], "scaled"),
    ],
    ids=["", "validation", "no full run", "large falls", "no large of seed 0"],
)
@pytest.mark.filterwarnings("ignore:left out of the table")
def test_the_rule_reads_full_runs_of_three_seeds_and_the_large_run_of_the_first(
    tmp_path, harm, chosen
):
    rows = [row | {"candidate": name} for name in ("scaled", "normed") for row in width_rows()]
    (tmp_path / "width.json").write_text(json.dumps({"rows": rows}))
    for seed, (validation, percent) in enumerate([(88.0, 90), (88.1, 80), (88.2, 85), (10.0, 10)]):
        made(tmp_path, SCALED, seed, "paper", 100 * percent, validation=validation)
    for seed, (validation, percent) in enumerate([(89.0, 70), (89.1, 88), (89.3, 60)]):
        for name in (NORMED, TABLE_1[0].name):
            made(tmp_path, name, seed, "paper", 100 * percent, validation=validation)
        made(tmp_path, NORMED, seed, "quick", validation=95.0)
    for name in (LARGE, "evanet20-large-scaled"):
        made(tmp_path, name, 1, "quick", validation=50.0)
        made(tmp_path, name, 0, "quick", validation=50.0)
    for name, seed, tier, changes in harm:
        made(tmp_path, name, seed, tier, **changes)
    assert choice.chosen_by_rule(tmp_path) == chosen


def test_what_a_candidate_lacks_is_said(tmp_path):
    made(tmp_path, SCALED, 1, "paper")
    found = choice.candidate("scaled", records.load_records(tmp_path), None)
    assert found.missing == "the width check, 15 epochs of the large network, 2 of 3 seeds"


def test_the_one_line_of_the_choice_is_the_rules():
    assert choice.chosen_by_rule() == CHOSEN


def test_the_chosen_candidate_is_the_row_of_table_1():
    assert choice.row_of(CHOSEN) is TABLE_1[2] is experiment("evanet20-small")


def test_a_row_is_called_by_its_variant():
    assert [choice.row_of(name).variant for name in choice.ADDED] == [*choice.ADDED]
    titles = {
        "evanet20-large": "EVANet-20 large, scaled",
        "resnet20-small": "ResNet-20 small",
        "evanet20-small-scaled-no-recall": "EVANet-20 small, scaled, no 1D attention",
    }
    assert {name: experiment(name).title for name in titles} == titles


def test_without_a_run_the_figure_says_so(tmp_path):
    assert "not run" in figures.against_paper(tables.of_size("small", tmp_path)).get_label()


def test_a_collapsed_run_and_one_that_was_not_have_no_mean(tmp_path):
    """Each is shown; 61.4 % is the accuracy of neither."""
    out, letter = tmp_path, choice.row_of("letter").name
    made(out, letter, 0, "paper", 3433, curve=fell(150))
    made(out, letter, 1, "paper", 8850)
    made(out, TABLE_1[2].name, 0, "paper", 8900)
    runs = records.load_records(out)
    assert tables.measure_effect(runs, experiment(letter))[1].mean is None
    assert choice.candidate("letter", runs, None).collapsed == 1
    told = tables.markdown(tables.table(out)) + tables.ablations_markdown(tables.ablations(out))
    assert "34.33; 88.50" in told and "61.4" not in told


def test_what_was_stopped_is_told_below_the_table(tmp_path):
    folder = tmp_path / "unfinished"
    folder.mkdir()
    (folder / "evanet20-large-scaled-seed0.log").write_text(
        "did not train:\nloss 2.303.\n", "utf-8"
    )
    line = "sanet20-large seed 0 epoch {}/150: loss {}, validation {}%, images/s 9\n"
    (folder / "sanet20-large-seed0.log").write_text(
        line.format(1, 1.9, 53.9) + line.format(2, 1.412, 50.84), "utf-8"
    )
    told = tables.markdown(tables.table(tmp_path))
    assert "EVANet-20 large, scaled, seed 0 did not train: loss 2.303." in told
    assert (
        "stopped after epoch 2, at a validation accuracy of 50.8 % and a training loss of 1.41 (best validation 53.9 %)"
        in told
    )
    (folder / "evanet20-large-residual-seed0.log").write_text(line.format(1, 1.818, 42.94), "utf-8")
    told = tables.ablations_markdown(tables.ablations(tmp_path))
    assert told.count("| stopped ") == 1 and "seed 0 was stopped after epoch 1, at a" in told
    made(tmp_path, "evanet20-large-scaled", 0, "paper", 9000)
    assert "did not train" not in tables.markdown(tables.table(tmp_path))


def test_an_unfinished_run_is_read_line_by_line(tmp_path):
    folder = tmp_path / "unfinished"
    shutil.copytree(records.results() / "unfinished", folder)
    curve = records.unfinished_curve("evanet20-small-letter-seed0", tmp_path)
    assert [row["epoch"] for row in curve] == list(range(1, len(curve) + 1))
    assert curve[0] == {"epoch": 1, "train_loss": 1.699, "validation_accuracy": 47.52}
    assert records.unfinished_curve("nothing", tmp_path) == []


def test_a_change_of_the_mechanism_is_what_it_says(float32):
    letter, images = build("evanet20-small-letter").eval(), torch.randn(2, 3, 32, 32)

    def changed(name):
        network, queries = copy.deepcopy(letter), []
        optimiser = adam(network, 1e-3)
        MECHANISM["CHANGES"][name](network, optimiser)
        network.summary.eva.looks[0].register_forward_pre_hook(
            lambda _, inputs: queries.append(inputs[0])
        )
        return network(images), queries[0], network, optimiser

    scores, q0, _, _ = changed("nothing")
    torch.testing.assert_close(scores, letter(images))
    length = changed("queries normed")[1].norm(dim=-1)
    torch.testing.assert_close(length, torch.full_like(length, 64**0.5))
    torch.testing.assert_close(changed("logits scaled")[1], q0 / (64 / 4) ** 0.5)
    assert changed("larger epsilon")[3].param_groups[0]["eps"] == 1e-4
    *_, network, optimiser = changed("gradient clipped")
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert torch.nn.utils.get_total_norm(gradients).item() == pytest.approx(1, rel=1e-3)


def test_the_mechanism_goes_on_from_no_other_checkpoint(tmp_path):
    settings = Settings("evanet20-small-letter", tier="paper")
    said = {
        "settings": {"experiment": "evanet20-small-letter", "tier": "paper", "seed": 0},
        "curve": [{}] * 24,
    }
    path = write_tensors(tmp_path, "epoch-0024", {"network.a": torch.ones(1)}, said)
    assert MECHANISM["begun"](path, settings, 24)["network.a"] == 1
    for other, start in (
        (settings, 10),
        (settings.model_copy(update={"seed": 1}), 24),
        (Settings("evanet20-small", tier="paper"), 24),
    ):
        with pytest.raises(
            ValueError, match="is of evanet20-small-letter, paper tier, seed 0, after 24 epochs"
        ):
            MECHANISM["begun"](path, other, start)


@pytest.mark.parametrize(
    ("course", "part"),
    [
        ("large, convolution at a quarter of the rate", "summary.eva.convolution"),
        ("large, EVA at a quarter of the rate", "summary"),
    ],
)
def test_a_slower_part_moves_by_a_quarter_and_all_else_as_before(course, part):
    experiment, change = runpy.run_path(str(ROOT / "scripts" / "first_steps.py"))["COURSES"][course]
    network = build(experiment)
    optimiser = adam(network, 1e-3)
    change(network, optimiser)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for _ in range(2):  # Adam moves each weight by the rate, while its gradient is the same
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimiser.step()
    for name, parameter in network.named_parameters():
        moved = 2 * (0.25e-3 if name.startswith(part) else 1e-3)
        torch.testing.assert_close(
            before[name] - parameter, torch.full_like(parameter, moved), rtol=1e-3, atol=1e-6
        )
