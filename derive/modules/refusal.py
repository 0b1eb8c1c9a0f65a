"""What is not audited, and what is wrong."""


class Refused(ValueError):
    """What cannot be recorded, or has no definition here, so that nothing is said of it."""


class Wrong(ValueError):
    """What is not the value or the gradient of the module."""


class Failed(Wrong):
    """A backward that raises where the module does not."""


DROPOUT = "dropout in training: what it draws is not known; give its mask as an input, or call eval()"
