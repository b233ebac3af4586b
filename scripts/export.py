"""Write a trained net as one file that runs on JAX alone, without dqnlab.

python scripts/export.py runs/Breakout-prioritized-s0-... --checkpoint best --out breakout.zip
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

if __package__ in (None, ""):  # run as a file: make `scripts` and `agents` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tyro

from scripts import export_file, extras, flags, outputs, predictor, startup


@dataclasses.dataclass(frozen=True)
class Options:
    """What to export, and where to."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Run folder of a training command."""
    out: Path
    """The file to write, .zip; one that is there is replaced."""
    checkpoint: str = "best"
    """best (highest training score at a checkpoint, once 20 games are finished), last, or the agent
    steps of a kept one."""


def main(args: list[str] | None = None) -> int:
    """Parse, load, write. Returns the exit code."""
    options = flags.cli(Options, args=args, description=__doc__)
    outputs.check({"--out": options.out}, {"--out": (".zip",)})
    extras.need("export", "flatbuffers")
    startup.select_device("cpu")
    net = predictor.load(options.run_dir, options.checkpoint)
    content = export_file.pack(net)
    outputs.write(options.out, content)
    shape = ", ".join(map(str, net.shape))
    print(
        f"{options.out}  {len(content) / 1e6:.1f} MB, {net.dtype}[B, {shape}] -> "
        f"{', '.join(net.about['outputs'])}, for {' and '.join(export_file.PLATFORMS)}"
    )
    return 0


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
