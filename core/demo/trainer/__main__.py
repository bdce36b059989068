"""Entry of the demo trainer: `python -P -m core.demo.trainer --config_file train.toml --dataset_config dataset.toml …`.

No signal handler is installed, as in the real one: SIGTERM ends the process at once, SIGINT raises KeyboardInterrupt,
and neither saves anything.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Parse as train_network.py does, then train; whatever goes wrong ends in a traceback and exit status 1."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # one core: the demo must leave the other for the screens

    from core.demo.trainer import arguments, log

    log.setup()
    args = arguments.parse(sys.argv[1:])

    from core.demo.trainer.train import train

    train(args)


if __name__ == "__main__":
    main()
