"""What of a scan no object explains, compared with the noise of counted electrons."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from misr4d.calibrate.counting import LevelledCube
from misr4d.core.acquisition import UPSAMPLING, Acquisition
from misr4d.core.estimate import TILE
from misr4d.reconstruction.direct import starting_point

__all__ = ["Unexplained", "unexplained"]


@dataclass(frozen=True)
class Unexplained:
    """Variance of the views that no object explains under an acquisition.

    Parameters
    ----------
    variance : float
        Of a whitened value.
    ratio : float
        To that of counted electrons: 1 if the acquisition is right and the specimen weak.
    freedom : float
        Number of values less that of an object's pixels.
    """

    variance: float
    ratio: float
    freedom: float

    def log_likelihood_over(self, other: Unexplained) -> float:
        """How much likelier this acquisition is than another of the same views, as a logarithm.

        For Gaussian noise of unknown variance. A camera that spreads an electron over several
        values makes fewer of them independent: divided by the smaller ratio, where it exceeds 1.
        """
        freedom = min(self.freedom, other.freedom) / max(1.0, min(self.ratio, other.ratio))
        return 0.5 * freedom * math.log(other.variance / self.variance)


def unexplained(
    views: Tensor,
    acquisition: Acquisition,
    cube: LevelledCube,
    upsampling: int = UPSAMPLING,
    device: str = "cpu",
) -> Unexplained:
    """Measure what no object explains, in the middle of the field.

    Parameters
    ----------
    views : Tensor
        ``(M, Rx, Ry)``, relative to a fully lit pixel in vacuum.
    acquisition : Acquisition
        Its defocus counted from the specimen's middle.
    cube : LevelledCube
        With its number of electrons, and the noise of its values.
    upsampling : int
        Aliases that an object may have.
    device : str
    """
    scan = acquisition.scan_shape
    side = [min(n, TILE) for n in scan]
    start = [(n - m) // 2 for n, m in zip(scan, side, strict=True)]
    tile = views[:, start[0] : start[0] + side[0], start[1] : start[1] + side[1]]
    method = starting_point(
        replace(acquisition, scan_shape=(side[0], side[1])), upsampling, device=device
    )
    variance = float(method.statistic(tile).noise)
    electrons_in_pixel = cube.electrons / acquisition.pixels_per_disc
    level = float(acquisition.relative_to_vacuum(tile).mean())
    expected = level / (electrons_in_pixel * math.prod(side)) * cube.noise(level, acquisition)
    freedom = (acquisition.number_of_views - upsampling**2) * math.prod(side)
    return Unexplained(variance, variance / expected, freedom)
