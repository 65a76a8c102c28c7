"""Where to compute: the CPU or a GPU."""

from __future__ import annotations

import torch

__all__ = ["pick_device"]


def pick_device(device: str | None, number: int = 0) -> str:
    """Check the name of a device. Without a name, choose a GPU if there is one.

    Parameters
    ----------
    device : str or None
        Such as ``cpu`` or ``cuda:0``.
    number : int
        Which of several GPUs, if `device` is None.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    if device is None:
        return f"cuda:{number}" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device is {device!r}: {str(error).splitlines()[0]}; expected cpu, or cuda:0 where "
            "there is such a GPU"
        ) from error
    return device
