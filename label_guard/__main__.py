"""``python -m label_guard`` is ``label-guard``."""

from label_guard.cli.app import main

if __name__ == "__main__":
    main()
