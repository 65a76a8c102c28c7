"""Training specimens without end: drawn at random, never the same, none of them held out.

A specimen is fixed by regime, seed and index. The thirteen specimens of the paper are held out, and
so is everything with the elements of one of them (:data:`HELD_OUT`), closed protein shells and
cross-β fibrils; see :func:`is_held_out`. Real structures are not needed: crystals are prototypes
with other elements or random cells under a space group, glasses and polymers are packed again each
time, and proteins are bundles, rings and globules of ideal helices and strands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from ase import Atoms

from misr4d.specimens.catalogue import Specimen
from misr4d.specimens.random_crystals import Rng, glass, grains
from misr4d.specimens.random_molecules import polymer, proteins

__all__ = [
    "HELD_OUT",
    "draw_specimen",
    "is_held_out",
]

HELD_OUT: Mapping[str, frozenset[str]] = {
    "MoS2": frozenset({"Mo", "S"}),
    "AlPO": frozenset({"Al", "P", "O"}),
    "NCM": frozenset({"Li", "Ni", "Co", "Mn", "O"}),
    "CaTiO3": frozenset({"Ca", "Ti", "O"}),
    "Li2CoO3": frozenset({"Li", "Co", "O"}),
    "PEO": frozenset({"C", "O"}),
    "CuZr": frozenset({"Cu", "Zr"}),
    "LiPON": frozenset({"Li", "P", "O", "N"}),
    "LLNO_glass": frozenset({"Li", "La", "Nb", "O"}),
}
"""Elements (hydrogen apart) of the held-out crystals, glasses and polymer."""


def is_held_out(atoms: Atoms) -> bool:
    """Whether these elements, hydrogen apart, are those of a held-out crystal, glass or polymer."""
    return frozenset(map(str, atoms.symbols)) - {"H"} in HELD_OUT.values()


def draw_specimen(regime: str, seed: int, index: int) -> Specimen:
    """Draw one training specimen.

    Parameters
    ----------
    regime : {"atomic", "molecular"}
    seed, index : int
        Fix the specimen: the same pair gives the same atoms.

    Returns
    -------
    Specimen
        Its name is the kind of specimen; the box is 64 or 80 Å wide in the atomic regime and
        256 Å in the molecular one.

    Raises
    ------
    ValueError
        If the regime is unknown or the index negative.
    """
    if regime not in _KINDS:
        raise ValueError(f"regime is {regime!r}; expected one of {', '.join(_KINDS)}")
    if index < 0:
        raise ValueError(f"index is {index}; expected 0 or more")
    rng = np.random.default_rng([seed, index, list(_KINDS).index(regime)])
    kinds, weights = zip(*_KINDS[regime], strict=True)
    while True:
        kind = kinds[rng.choice(len(kinds), p=np.array(weights) / sum(weights))]
        named_atoms = kind(rng)
        if named_atoms is not None and len(named_atoms[1]) and not is_held_out(named_atoms[1]):
            name, atoms = named_atoms
            title = f"{name} {atoms.symbols.formula.reduce()[0]}"
            return Specimen(name, title, atoms, regime, f"drawn: {seed}/{index}", "none needed")


_Maker = Callable[[Rng], "tuple[str, Atoms] | None"]

_KINDS: Mapping[str, tuple[tuple[_Maker, float], ...]] = {
    "atomic": ((grains, 0.66), (glass, 0.22), (polymer, 0.12)),
    "molecular": ((proteins, 1.0),),
}
