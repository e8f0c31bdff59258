"""What has to be changed in the code of others before it runs, and what is changed on purpose, with the reasons.

`federated_rivals.py` takes a copy of a checkout and puts one text in place of another. Nothing of that code is
kept here but the lines that are replaced.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Patch:
    """One text in place of another, wherever it stands in a file of the checkout."""

    file: str
    old: str
    new: str
    reason: str


def patched_copy(checkout: Path, folders: Iterable[str], patches: Iterable[Patch], target: Path) -> None:
    """Copy folders of a checkout, and change the copy.

    Raises
    ------
    ValueError
        If the text that a patch replaces is not there: the checkout is of another commit than the patches.
    """
    for folder in folders:
        shutil.copytree(checkout / folder, target / folder)
    for patch in patches:
        file = target / patch.file
        text = file.read_text(encoding="utf-8")
        if patch.old not in text:
            raise ValueError(f"{patch.file}: expected {patch.old!r}, to patch it ({patch.reason}); not found")
        file.write_text(text.replace(patch.old, patch.new), encoding="utf-8")


FLAIM = "synth_fl"  # the folder of https://github.com/Samuel-Maddock/flaim that is copied
_LOADERS, _AIM = f"{FLAIM}/utils/dataloaders/core.py", f"{FLAIM}/generators/central/aim.py"
_GONE = "imports a module that the repository has not"
_UNUSED = "imports a package that nothing needs here"

FLAIM_RUNS = (
    Patch(
        f"{FLAIM}/utils/__init__.py",
        "path_manager = PathManager()\n",
        "path_manager = PathManager()\nDEFAULT_DATA_ROOT = path_manager.DEFAULT_DATA_ROOT\n",
        "others import this name, which is gone",
    ),
    Patch(
        _LOADERS,
        "from synth_fl.utils import logger\n",
        "from synth_fl.utils import logger, path_manager\n",
        "uses a name that it does not import",
    ),
    Patch(_LOADERS, "import torch\n", "", _UNUSED),
    Patch(_LOADERS, "from torch.utils.data import Dataset\n", "", _UNUSED),
    Patch(_LOADERS, "from pmlb import fetch_data\n", "", _UNUSED),
    Patch(_LOADERS, "from pmlb.update_dataset_files import get_dataset_stats\n", "", _UNUSED),
    Patch(_LOADERS, "from sdv.datasets.demo import download_demo, get_available_demos\n", "", _UNUSED),
    Patch(f"{FLAIM}/generators/__init__.py", "import jax.numpy as jnp\n", "", _UNUSED),
    Patch(f"{FLAIM}/libs/private_pgm/mechanisms/cdp2adp.py", "import matplotlib.pyplot as plt\n", "", _UNUSED),
    Patch(
        f"{FLAIM}/libs/private_pgm/mbi/__init__.py",
        "from .mixture_inference import MixtureInference\n",
        "",
        "imports jax, for an inference that nothing uses here",
    ),
    Patch(f"{FLAIM}/generators/central/__init__.py", "from .mwem import MWEM\n", "MWEM = None\n", _GONE),
    Patch(f"{FLAIM}/generators/central/__init__.py", "from .ctgan import CTGAN\n", "CTGAN = None\n", _GONE),
    Patch(
        f"{FLAIM}/generators/federated/__init__.py",
        "from synth_fl.generators.federated.fed_ctgan import FedCTGAN\n",
        "FedCTGAN = None\n",
        _GONE,
    ),
)
_TWICE = "replacing a record changes two cells of a marginal by one each: "
FLAIM_REPLACEMENT = (  # of DistAIM; AugFLAIM has queries of its own
    Patch(_AIM, "sensitivity = 1\n", "sensitivity = np.sqrt(2)\n", f"{_TWICE}L2 sensitivity sqrt(2)"),
    Patch(
        _AIM,
        "sensitivity_constant = 1 if control_variates is None else 2",
        "sensitivity_constant = 2 if control_variates is None else 4",
        f"{_TWICE}L1 sensitivity 2, of the scores by which marginals are chosen",
    ),
    Patch(
        _AIM,
        "gauss_sensitivity = 1 / (query_ans.sum())",
        "gauss_sensitivity = np.sqrt(2) / (query_ans.sum())",
        "a score takes off the noise that it expects, which is sqrt(2) times as large",
    ),
    Patch(
        _AIM,
        "(self.n * gauss_sigma / round_sample_size)",
        "(np.sqrt(2) * self.n * gauss_sigma / round_sample_size)",
        "noise is lowered where a round taught less than the noise, which is sqrt(2) times as large",
    ),
)

HETERO = ("synthesizer", "lib")  # of XiaochenLi-w/Federated-Tabular-Data-Synthesis-Framework
_ANONYMIZER = "synthesizer/privsyn_lib/fed_anonymizer_adv.py"

HETERO_RUNS = (
    Patch(
        _ANONYMIZER,
        """    if dm == "uniform":
        perm = np.random.permutation(total_num)
        idx_chunks = np.array_split(perm, c)
""",
        """    if dm == "uniform":
        idx_chunks = [np.flatnonzero(np.load("sites.npy") == site) for site in range(c)]
""",
        "sites are those of the benchmark, in place of a split of its own",
    ),
)
HETERO_REPAIRED = (
    Patch(
        _ANONYMIZER,
        "    noisy_marginals = {}\n\n    if Flag_ == 1:\n",
        "    noisy_marginals, delta = {}, delta / 3\n\n    if Flag_ == 1:\n",
        "each of three parts spent the whole delta",
    ),
    Patch(
        _ANONYMIZER,
        "    for key, marginal in marginal_sets.items():\n\n        noisy_marginals[key] = marginal +",
        "    for key, marginal in marginal_sets.items():\n"
        "        if Flag_ == 4 and key in split_method['released']:\n"
        "            noisy_marginals[key] = split_method['released'][key]\n"
        "            continue\n\n        noisy_marginals[key] = marginal +",
        "a pair was released with fresh noise up to four times, and paid for once",
    ),
    Patch(
        _ANONYMIZER,
        "        noisy_marginals[key] = np.maximum(noisy_marginals[key], 0)\n",
        "        if Flag_ != 2:\n"
        "            noisy_marginals[key] = np.maximum(noisy_marginals[key], 0)\n"
        "        if Flag_ == 4:\n"
        "            split_method['released'][key] = noisy_marginals[key]\n",
        "random projections were cut off below zero; and a released pair is kept",
    ),
    Patch(
        _ANONYMIZER,
        "added_one_way_marginals, _ = anonymize_marginals(copy.deepcopy(added_one_way_marginals), args_sel,"
        " delta, sensitivity, sample_num_total, 0, Flag_ = 1)",
        "added_one_way_marginals = {key: noisy_one_way_marginals[key] for key in added_one_way_marginals}",
        "columns were released twice, and paid for once",
    ),
    Patch(
        _ANONYMIZER,
        "added_one_way_marginals, _ = anonymize_marginals(copy.deepcopy(added_one_way_marginals), select_args,"
        " delta, sensitivity, sample_num, 0, Flag_ = 1)",
        "added_one_way_marginals = {key: select_args['columns'][key] for key in added_one_way_marginals}",
        "columns were released up to four times, and paid for once",
    ),
    Patch(
        _ANONYMIZER,
        "    max_select_num = int(len(two_way_marginals) / 3)\n",
        "    max_select_num = int(len(two_way_marginals) / 3)\n"
        "    args_sel |= {'columns': noisy_one_way_marginals, 'released': {}}\n",
        "hands on what is released already",
    ),
    Patch(
        _ANONYMIZER,
        "eps = split_method['two-way-publish'] / split_method['client_num']\n\n"
        "        noise_param = advanced_composition.gauss_zcdp(\n            eps, delta, sensitivity, max_num\n",
        "eps = split_method['two-way-publish']\n\n"
        "        noise_param = np.sqrt(split_method['client_num']) * advanced_composition.gauss_zcdp(\n"
        "            eps, delta, sensitivity, max_num\n",
        "c sites that each add noise add sqrt(c) times as much; it was c times",
    ),
    Patch(
        _ANONYMIZER,
        "sigma_ = math.sqrt(len(two_way_keys)) / (math.sqrt(tmp_var + 2 * select_args['two-way-publish'] /"
        " select_args['client_num']) - math.sqrt(tmp_var))",
        "sigma_ = math.sqrt(max_select_num * select_args['client_num']) / (math.sqrt(tmp_var + 2 *"
        " select_args['two-way-publish']) - math.sqrt(tmp_var))",
        "the noise that the choice of pairs expects is the one that they get",
    ),
    Patch(
        _ANONYMIZER,
        "        P_ab = np.random.normal(0, 1 / np.sqrt(k), size=(sa * sb, k))\n",
        "        seed = [len(random_matrices), sa, sb]\n"
        "        P_ab = np.random.default_rng(seed).normal(0, 1 / np.sqrt(k), size=(sa * sb, k))\n",
        "sites projected by different matrices, and their sums were read by the last one's",
    ),
    Patch(
        _ANONYMIZER,
        "        attr1, attr2 = list(pair)\n\n        # Get the one-way marginals for each attribute\n"
        "        one_way_marginal_attr1",
        "        attr1, attr2 = (attr for only in noisy_one_way_marginals for attr in only if attr in pair)\n\n"
        "        one_way_marginal_attr1",
        "a set has no order: the product of two columns was laid out the other way round than the pair, by chance",
    ),
    Patch(
        _ANONYMIZER,
        "    alpha = 1 / (sample_num_total ** 2) #",
        "    alpha = args_sel['client_num'] / (sample_num_total ** 2) #",
        "the noise of all sites is taken off the scores of pairs, and not of one",
    ),
    Patch(
        _ANONYMIZER,
        "        indif_scores[pair] = indif_score\n",
        "        indif_scores[pair] = np.nan_to_num(indif_score)\n",
        "a score below zero has no root; one that is no number kept every pair from being chosen",
    ),
)
