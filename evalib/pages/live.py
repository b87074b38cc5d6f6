"""A trained network that computes in the page: a custom element with its structure, its weights and its script.

It needs no server, no kernel and no other host, from a folder as from a site. The weights lie in the page and are read
only when a reader starts the network; the built book keeps them in files beside its pages (``book/slim.py``). Where
scripts are off, a static figure of one image stays. Needs IPython.
"""

import base64
from collections.abc import Mapping

from IPython.display import HTML
from jaxtyping import Int, UInt8
from torch import Tensor

from evalib.eva import ExpandingVisualAttention
from evalib.networks import Network
from evalib.pages import stills
from evalib.pages.explorer import NOTE, described, embedded, export_eva, script, styles
from evalib.pages.packing import pack
from evalib.results import choice, weights

SCRIPTS = "engine", "parts", "picture", "panels", "live"


def live(networks: Mapping[str, Network], images: UInt8[Tensor, "n 3 32 32"], labels: Int[Tensor, " n"]) -> HTML:
    """EVANets that answer to any image: ``networks`` gives each its name on the page, and the first one begins.

    ``images`` are those to choose from; the static figure is of the first. ``ValueError`` if a network is in training
    mode, or is one that the browser does not compute.
    """
    exported = [(name, *pack(network)) for name, network in networks.items()]
    data = {
        "readings": [{"name": name, "structure": structure} for name, structure, _ in exported],
        "images": described(images, labels),
        "megabytes": f"{max(len(block) for *_, block in exported) / 1e6:.1f}",
    }
    packed = "".join(
        f'<script type="text/plain" data-digest="{structure["digest"]}">{base64.b64encode(block).decode()}</script>'
        for _, structure, block in exported
    )
    first = next(iter(networks.values()))
    still = stills.network(export_eva(first, images[:1], labels[:1]), exported[0][1])
    return HTML(
        f'<eva-live style="display: block">{styles("parts", "live")}{embedded(data)}{packed}{still}'
        f'<p slot="note"><small>{NOTE}</small></p></eva-live>{script("eva-live", *SCRIPTS)}'
    )


def readings() -> dict[str, Network]:
    """A reading of EVA that weighs, then the letter of the text, of the networks that come with the package.

    The first is the library's own reading; where that is the letter, or is no stages of rings, the candidate that adds
    most to it.
    """
    names = [name for name in dict.fromkeys((choice.default(), *reversed(choice.ADDED))) if name != "letter"]
    there = {name: weights.packaged(choice.row_of(name).name) for name in (*names, "letter")}
    networks = {name: weights.load_weights(path) for name, path in there.items() if path}
    staged = [name for name, each in networks.items() if isinstance(each.summary.eva, ExpandingVisualAttention)]
    weighing = [name for name in staged if name != "letter"][:1]
    return {name: networks[name] for name in staged if name in (*weighing, "letter")}
