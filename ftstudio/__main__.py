"""`python -m ftstudio` is the command `ftstudio`."""

from ftstudio.cli import main

raise SystemExit(main())
