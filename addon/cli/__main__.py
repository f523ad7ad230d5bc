"""`python -m patchbay.cli`, for a checkout in which the command is not installed."""

from __future__ import annotations

import sys

from .entry import main

sys.exit(main())
