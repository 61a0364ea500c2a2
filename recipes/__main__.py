"""`python -m recipes`: see `python -m recipes --help`."""

from __future__ import annotations

import sys

from .command import main

if __name__ == "__main__":  # worker processes import this file, and must not begin anew
    sys.exit(main())
