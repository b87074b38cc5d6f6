"""Where each item of the paper is: in the code, in the tests, in the book; and where we depart from
it.
"""

from typing import NamedTuple


class Entry(NamedTuple):
    """``tests`` hold ``name`` to the paper, and ``fast``, the same arranged for speed, to ``name``.

    ``departures`` are those of `book/departures.md` that are taken there.
    """

    item: str
    name: str
    fast: str | None
    tests: tuple[str, ...]
    chapter: str
    departures: tuple[str, ...] = ()


EQUATIONS, EVA, FAST = (
    "tests/test_equations.py::test_",
    "tests/test_eva.py::test_",
    "tests/test_fast.py::test_",
)
LOOPS = EVA + "output_and_weights_are_the_loops"
STAGE = (LOOPS, EVA + "recall_reads_q0_and_every_look_so_far", FAST + "eva_is_the_literal_module")

LEDGER = (
    Entry(
        "Eq. 1",
        "evalib.equations.convolution",
        "torch.nn.functional.conv2d",
        (EQUATIONS + "convolution_is_the_loop", EQUATIONS + "convolution_is_torch_conv2d"),
        "notebooks/convolution",
        ("D1",),
    ),
    Entry(
        "Eq. 2",
        "evalib.equations.local_attention",
        None,
        (EQUATIONS + "local_attention_is_the_loop",),
        "notebooks/attention",
        ("D4", "D7"),
    ),
    Entry(
        "Eq. 3",
        "evalib.equations.relative_attention",
        "evalib.fast.relative_attention",
        (
            EQUATIONS + "relative_attention_is_the_loop",
            FAST + "each_formulation_is_the_literal_equation",
        ),
        "notebooks/relative_attention",
        ("D2", "D4", "D7"),
    ),
    Entry(
        "§2.2 q, k, v and heads",
        "evalib.attention.RelativeSelfAttention",
        None,
        (
            EQUATIONS + "module_is_projections_around_the_equation",
            FAST + "self_attention_is_the_literal_module",
        ),
        "notebooks/relative_attention",
        ("D3", "D4"),
    ),
    Entry(
        "§3.1 first query",
        "evalib.eva.WholeMap",
        None,
        (LOOPS,),
        "notebooks/eva_by_hand",
        ("D5", "D15"),
    ),
    Entry(
        "§3.1 memory blocks",
        "evalib.equations.ring",
        None,
        (EVA + "rings_have_1_8_16_24_pixels_in_row_major_order_and_cover_the_map",),
        "notebooks/eva",
    ),
    Entry(
        "§3.1 2D and 1D attention",
        "evalib.equations.single_query_attention",
        "evalib.fast.single_query_attention",
        (LOOPS, FAST + "single_query_attention_is_the_literal_one"),
        "notebooks/eva_by_hand",
        ("D3", "D4"),
    ),
    Entry("§3.1 stage 1", "evalib.eva.ExpandingVisualAttention", None, STAGE, "notebooks/eva_code"),
    Entry("§3.1 stage 2", "evalib.eva.ExpandingVisualAttention", None, STAGE, "notebooks/eva_code"),
    Entry("§3.1 stage 3", "evalib.eva.ExpandingVisualAttention", None, STAGE, "notebooks/eva_code"),
    Entry("§3.1 stage 4", "evalib.eva.ExpandingVisualAttention", None, STAGE, "notebooks/eva_code"),
    Entry(
        "§3.1 output",
        "evalib.eva.feed_forward",
        None,
        (LOOPS,),
        "notebooks/eva_by_hand",
        ("D5", "D6"),
    ),
    Entry(
        "§3.3 backbone",
        "evalib.networks.Network",
        None,
        ("tests/test_networks.py::test_parameters_and_shapes",),
        "notebooks/networks",
        ("D6", "D7", "D8", "D9", "D13", "D14"),
    ),
    Entry(
        "§4.1 augmentation",
        "evalib.training.data.crop_and_flip",
        None,
        ("tests/test_data.py::test_crop_and_flip_is_torchvision_image_by_image",),
        "notebooks/train",
        ("D12",),
    ),
    Entry(
        "§4.1 training",
        "evalib.training.train.train",
        None,
        (
            "tests/test_recipe.py::test_the_rate_falls_tenfold_at_each_milestone_of_any_schedule",
            "tests/test_training.py::test_the_test_images_decide_nothing",
        ),
        "notebooks/train",
        ("D10", "D11", "D13", "D15"),
    ),
    Entry(
        "Table 1",
        "evalib.experiments.TABLE_1",
        None,
        ("tests/test_networks.py::test_table_1_is_the_papers",),
        "notebooks/table1",
        ("D9",),
    ),
)
