"""The one error that a user can mend."""


class InputError(ValueError):
    """Wrong use or bad data, told as one line: the rule, the value that breaks it, what to do.

    The commands print it without a traceback and exit with code 2.
    """

    def __init__(self, rule: str, value: object, mend: str) -> None:
        self.rule, self.value, self.mend = rule, value, mend
        super().__init__(rule, value, mend)

    def __str__(self) -> str:
        return f"{self.rule}; got {self.value}. {self.mend}"
