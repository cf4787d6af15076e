"""The command line: one file a command."""

from label_guard.cli.app import COMMANDS as COMMANDS
from label_guard.cli.app import main as main
