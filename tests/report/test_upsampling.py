"""Images finer than three pixels per step of the scan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

import misr4d
from misr4d import ATOMIC
from misr4d.cli import main
from misr4d.core import optics
from misr4d.core.dose import count_electrons
from misr4d.core.estimate import Estimate
from misr4d.io.emd import Recording
from misr4d.learn.learned import informed, informed_tiled
from misr4d.measure.metrics import correlation
from misr4d.measure.spectra import fourier_ring_correlation
from misr4d.reconstruction.direct import starting_point
from misr4d.reconstruction.forward import ExpectedViews
from misr4d.reconstruction.refine import refine_scan
from misr4d.report import reconstruct as reports

# Steps twice as long as usual; a threefold image ends at 0.75 1/Å, a sixfold at 1.5.
COARSE = replace(
    ATOMIC,
    step=(2.0, 2.0),
    scan_shape=(32, 32),
    defocus=1000.0,
    detector_pixel=1.3,
    pixel_samples=1,
)
FINER = 6


def weak_phase(cutoff: float = 0.9) -> Tensor:
    """Random phase on the sixfold grid, of 0.02 rad, up to a frequency [1/Å]."""
    noise = torch.randn((192, 192), generator=torch.Generator().manual_seed(0))
    qx, qy = optics.frequencies((192, 192), (1 / 3, 1 / 3))
    keep = (qx**2 + qy**2).sqrt() < cutoff
    image = torch.fft.ifft2(torch.fft.fft2(noise) * keep).real
    image = image - image.mean()
    return (image / image.std() * 0.02).float()


@pytest.fixture(scope="module")
def truth() -> Tensor:
    return weak_phase()


@pytest.fixture(scope="module")
def views(truth: Tensor) -> Tensor:
    model = ExpectedViews(COARSE, FINER)
    with torch.no_grad():
        return torch.cat([model(model.transmission(truth), b) for b in model.batches()])


def test_a_sixfold_image_shows_what_a_threefold_cannot(views: Tensor, truth: Tensor) -> None:
    image = starting_point(COARSE, FINER)(views)
    frequency, curve, _ = fourier_ring_correlation(image, truth, (1 / 3, 1 / 3))
    beyond = (frequency > 0.76) & (frequency < 0.88)
    assert beyond.any()
    assert curve[beyond].min() > 0.9


def test_a_sixfold_image_is_refined_by_its_electrons(views: Tensor, truth: Tensor) -> None:
    dose = 20_000.0
    counts = count_electrons(views, COARSE, dose, torch.Generator().manual_seed(0))
    prior = Estimate(torch.zeros_like(truth), torch.full_like(truth, 0.02))
    refined = refine_scan(counts, COARSE, dose, prior, evaluations=15)
    assert refined.image.shape == truth.shape
    rim = slice(36, -36)  # of what views from outside the field mix in
    assert correlation(refined.image[rim, rim], truth[rim, rim]) > 0.5


def test_a_prior_of_no_whole_factor_is_refused(views: Tensor) -> None:
    prior = Estimate(torch.zeros(100, 192), torch.zeros(100, 192))
    with pytest.raises(ValueError, match=r"has shape \(100, 192\); expected a whole number"):
        refine_scan(views, COARSE, 100.0, prior)


def test_tiles_of_a_sixfold_image_join_to_that_of_the_whole(views: Tensor) -> None:
    wide = views.repeat(1, 2, 1)  # the field repeats itself
    whole = informed(starting_point(replace(COARSE, scan_shape=(64, 32)), FINER), wide)
    tiled = informed_tiled(
        wide, replace(COARSE, scan_shape=(64, 32)), upsampling=FINER, tile=48, overlap=8
    )
    assert tiled.mean.shape == (384, 192)
    middle = slice(96, -96)  # a tile of no whole periods does not repeat at its edge
    assert correlation(tiled.mean[middle], whole.mean[middle]) > 0.95
    assert (whole.intervals, tiled.intervals) == (None, None)  # calibrated at three alone


def test_the_network_knows_blocks_of_three(views: Tensor) -> None:
    with pytest.raises(ValueError, match="upsampling is 4; the network works on blocks of 3 × 3"):
        informed(starting_point(COARSE, 4), views)


@pytest.fixture(scope="module")
def path(small_recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_recording.write(tmp_path_factory.mktemp("scan") / "scan.h5")


def test_the_finer_report_agrees_with_the_usual_one(path: Path) -> None:
    usual, finer = (misr4d.reconstruct(path, method="direct", upsampling=r) for r in (3, FINER))
    assert finer.phase.shape == (192, 192)
    assert finer.pixel == pytest.approx([p / 2 for p in usual.pixel])
    cropped = optics.fourier_resample(finer.mean, usual.mean.shape)
    assert correlation(cropped, usual.mean) > 0.97


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--upsampling", "4"), "expected 3, 6, 9 …, or --method direct"),
        (("--upsampling", "30", "--method", "direct"), "cannot determine 30×30 aliases"),
        (("--upsampling", "0"), "0 is not in the range x>=1"),
    ],
)
def test_a_factor_that_cannot_be_is_refused_by_name(
    path: Path, tmp_path: Path, given: tuple[str, ...], message: str
) -> None:
    out = tmp_path / "result"
    done = CliRunner().invoke(main, ["reconstruct", str(path), "--out", str(out), *given])
    assert done.exit_code != 0
    assert message in done.output + str(done.exception)
    assert not out.exists()


def test_the_plan_names_the_finer_image(path: Path) -> None:
    given = ("reconstruct", str(path), "--upsampling", "6", "--dry-run")
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 0, done.output
    assert "192 × 192 pixels" in done.output


def test_half_sets_that_agree_to_the_end_of_the_grid_ask_for_a_finer_one() -> None:
    frequency, curve = torch.linspace(0.1, 0.75, 14), torch.ones(14)
    curves = {"direct": (frequency, curve, torch.full((14,), 100.0))}
    limits = {"direct": {"half-bit": 1 / 0.75, "0.143": 1 / 0.75, "finest ring": 1 / 0.75}}
    (warning,) = reports._coarse_grid(curves, limits, COARSE, 3, "informed")
    assert "last ring, 1.33 Å" in warning
    assert "--upsampling 6" in warning
    (warning,) = reports._coarse_grid(curves, limits, COARSE, 3, "direct")
    assert "--upsampling 4" in warning
    assert not reports._coarse_grid(curves, limits, COARSE, 6, "informed")
    limits["direct"]["finest ring"] = 2.0
    assert not reports._coarse_grid(curves, limits, COARSE, 3, "informed")
    few = replace(COARSE, detector_pixel=5.0)  # too few views for more
    assert few.number_of_views < 16
    limits["direct"]["finest ring"] = 1 / 0.75
    assert not reports._coarse_grid(curves, limits, few, 3, "direct")
