"""What the commands of this package have in common: bad usage is one line and exit status 2."""

import argparse


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: {message}\n")
